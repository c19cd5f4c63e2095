"""Weights and schedule of `relief`: the numbers that make relief stronger or weaker.

Tested by tests/inverse/test_relief.py.
"""

from __future__ import annotations

from dataclasses import dataclass

SKIN_DETAIL = ((0.00045, 0.00060, 0.00060), (0.00060, 0.00110, 0.00108), (0.00060, 0.00108, 0.00120))
"""Covariance (3, 3) of log RGB that skin has beyond a smooth albedo: melanin of about 2.2 % along (0.6, 0.95,
1.05), haemoglobin of 2 % along (0.3, 1.0, 0.8), and 1 % of grey."""


@dataclass(frozen=True)
class ReliefConfig:
    """Weights and schedule of shape from shading.

    Chosen by the shading that relief explains on photos of one half of the subjects (`lab.evaluation.photos`)
    and by eye in raking light, with rendered heads of known relief and marked skin
    (`lab.evaluation.truth.relief`) as a guard. Coarse light, shape and albedo of photos are wrong in smooth
    ways: hence a narrower `lowpass_mm` and a milder `sparse_power` than known light would ask for.
    """

    displacement: float = 150.0
    """mu1, per mm^2 of mean squared displacement, for small ones."""
    sparse_mm: float = 0.05
    """Displacements beyond this cost ever less than their squares: skin is flat with folds here and there."""
    sparse_power: float = 1.5
    """The square's weight falls with (1 + (d / sparse_mm)^2)^-power; 0 is the plain square, 1 a logarithm, 2
    Geman-McClure."""
    fold_mm: float = 2.0
    """Whether skin is folded is decided over about this distance."""
    laplacian: float = 3.0
    """mu2, per 1/mm of the mean absolute Laplacian of the displacement."""
    soften: float = 0.1
    """|Laplacian| in 1/mm below which its cost is quadratic."""
    crease_mm: float = 1.0
    """|Laplacian| is the root mean square over about this distance, which keeps staircases and specks out."""
    robust: float = 25.0
    """Whitened residuals (root mean square of three channels) beyond this lose influence; infinity for
    none."""
    coherence_mm: float = 0.5
    """Robust weights come from costs averaged over about this distance."""
    contrast: float = 0.8
    """Pixels whose log ratio of image and rendering lies this far below that of the skin around (within
    `lowpass_mm`, over `contrast_mm`) are hair; infinity for no such limit, here and below."""
    shine: float = 0.5
    """The same for brighter pixels."""
    texture: float = 0.08
    """Deviation of the log ratio within 0.35 mm beyond which it is hair."""
    step: float = 0.2
    """Slope of the smoothed log ratio, 1/mm, beyond which it is the edge of a shadow, hair or glasses."""
    spots: float = 0.08
    """Roundness of the log ratio beyond which it is a mole, a freckle or shine; a round spot has a quarter of
    its contrast, a line none."""
    lines: float = 0.4
    """Contrast of a line of shading to the skin's texture at which it counts half; 0 for no such limit."""
    contrast_mm: float = 1.5
    """See `contrast`."""
    noise: float = 2.0 / 255.0
    """Standard deviation of the image's noise, colours in [0, 1]."""
    skin: tuple[tuple[float, float, float], ...] = SKIN_DETAIL
    """Covariance (3, 3) of the log RGB of skin detail."""
    whiten: bool = True
    """Separate shading from albedo detail by colour; else every channel counts alike."""
    slope: float = 0.3
    """Deviation of the relief's slopes that is assumed while separating."""
    bands_mm: tuple[float, ...] = (0.4, 0.8, 1.6, 3.2)
    """Gaussian deviations that split the image into bands for separating; the last band is what is
    smoother."""
    surroundings: float = 2.0
    """The strength of detail in a band is measured over this many of the band's deviations."""
    belief: float = 1.0
    """Weight of the prior belief that detail is as strong as `skin`, where colours say little."""
    unexplained: float = 0.03
    """Share of the skin covariance, times its local strength, that is left in C after the detail that colour
    reveals is taken out."""
    least_detail: float = 0.2
    """The local strength is at least this, since an image may have less noise than `noise`."""
    doubt: float = 1.0
    """Relative uncertainty of the detail taken out: moles and hairs leave little trust behind."""
    lowpass_mm: float = 10.0
    """Residuals smoother than this Gaussian deviation are the coarse fit's faults, not detail."""
    limit: float = 0.03
    """|d| stays below this share of the mask's width."""
    fade_px: float = 3.0
    """Over this distance from the mask's border the displacement is held to 0."""
    levels: int = 3
    """Resolutions, each half the next."""
    steps: int = 4
    """Gauss-Newton steps per level."""
    iterations: int = 20
    """Conjugate gradient iterations per step."""
