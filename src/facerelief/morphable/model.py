"""The one face model type: a linear model of shape, expression and skin colour over a fixed topology.

    p = mean + identity a + expression e          albedo = albedo_mean + albedo b

A model may add correctives: where lids or lips must meet, a unit's displacement depends on the identity too,
p += e_u (corrective_u a). For one identity the model stays linear in the expression.

Units: positions in mm, `a` and `b` in standard deviations, `e` in ARKit weights ([0, 1]) for named
blendshapes or in standard deviations for statistical bases. Model space is right-handed: x to the image's
right, y up, z toward the viewer, for a face that looks at the viewer (so the person's left side has x > 0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.errors import ModelError
from facerelief.morphable.named_expressions import NAMED, hint
from facerelief.typed import Float32, Int32

ExpressionKind = Literal["blendshape", "pca"]


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points fixed to the surface: vertex triples (L, 3) int32 and barycentric weights (L, 3) float32 summing
    to 1.

    spread (L,) float32, or None where it is not known: how far, in mm on the face, a detector's points
    usually lie from these (robust standard deviation per axis); fitters weigh landmarks by it.
    """

    vertices: Int32
    weights: Float32
    spread: Float32 | None = None

    def __len__(self) -> int:
        return len(self.vertices)

    @classmethod
    def at_vertices(cls, indices: ArrayLike) -> SurfacePoints:
        """Points that are vertices themselves."""
        index = np.asarray(indices, dtype=np.int32).reshape(-1)
        weights = np.zeros((len(index), 3), np.float32)
        weights[:, 0] = 1.0
        return cls(np.repeat(index[:, None], 3, axis=1), weights)

    def of(self, per_vertex: NDArray[np.floating]) -> NDArray[np.floating]:
        """(N, ...) values per vertex -> (L, ...) values at the points."""
        weights = self.weights.reshape(self.weights.shape + (1,) * (per_vertex.ndim - 1))
        return (per_vertex[self.vertices] * weights.astype(per_vertex.dtype)).sum(axis=1)


@dataclass(frozen=True, eq=False)
class Contour:
    """Candidates for the place of an outline landmark when the head turns.

    landmarks (C,) int32 index into the landmark set; candidates (C, R) int32 vertex ids along the surface
    from the ear side inward. Under a pose the landmark is the candidate that projects outermost
    (dynamic contour rows).
    """

    landmarks: Int32
    candidates: Int32


@dataclass(frozen=True, eq=False)
class Corrective:
    """Change of one expression unit by identity, so that surfaces touch on every face (lids, lips)."""

    unit: int
    """Index of the expression."""
    vertices: Int32
    """(V,) vertex ids."""
    basis: Float32
    """(V, 3, K) change of the unit's displacement for one standard deviation of each component, mm."""

    def of(self, points: SurfacePoints) -> Float32:
        """(L, 3, K) the change at surface points."""
        found = np.isin(points.vertices, self.vertices)
        order = np.argsort(self.vertices)
        place = np.searchsorted(self.vertices, points.vertices, sorter=order)
        rows = self.basis[order[np.minimum(place, len(order) - 1)]]
        weights = (points.weights * found).astype(np.float32)
        return (rows * weights[:, :, None, None]).sum(axis=1)


@dataclass(frozen=True, eq=False)
class FaceModel:
    """A linear face model. Bases are stored vertex-major so that rows of any vertex subset are one gather."""

    name: str
    """Short name, written to results."""
    mean: Float32
    """(N, 3) mean neutral shape, mm."""
    identity: Float32
    """(N, 3, K) displacement of one standard deviation of each identity component, mm."""
    expression: Float32
    """(N, 3, E) displacement of each expression at weight 1 (blendshape) or one standard deviation (pca),
    mm."""
    expression_names: tuple[str, ...]
    """E names; ARKit's where the model has them."""
    triangles: Int32
    """(T, 3) vertex ids, counter-clockwise from outside."""
    albedo_mean: Float32
    """(N, 3) mean skin colour, sRGB-coded in [0, 1]."""
    albedo: Float32
    """(N, 3, A) colour change of one standard deviation; A may be 0."""
    uv: Float32
    """(M, 2) texture coordinates, v up; M may be 0."""
    uv_triangles: Int32
    """(T, 3) ids into uv (or (0, 3))."""
    expression_kind: ExpressionKind = "blendshape"
    landmarks: Mapping[str, SurfacePoints] = field(default_factory=dict[str, SurfacePoints])
    """Named landmark sets: "ibug68", "mediapipe478"."""
    contours: Mapping[str, Contour] = field(default_factory=dict[str, Contour])
    """Outline candidates per landmark set."""
    regions: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict[str, NDArray[np.bool_]])
    """Named (N,) vertex masks, e.g. face, narrow_face, eyes, lips, nose, brows, ears, eyeballs."""
    symmetry: Int32 | None = None
    """(N,) id of each vertex's mirror image across x = 0, or None."""
    correctives: tuple[Corrective, ...] = ()
    """Changes of expressions by identity."""
    quads: int = 0
    """Quads of the mesh, for subdivision: triangles 2 q and 2 q + 1 are quad q, triangles from 2 `quads` on
    stand alone."""
    version: str = "1"
    """Version of the model's data, written to results."""
    licence: str = "unknown"
    """One line: terms and attribution."""

    def __post_init__(self) -> None:
        n = len(self.mean)
        e = len(self.expression_names)
        expected: list[tuple[str, tuple[int, ...], tuple[int | None, ...]]] = [
            ("mean", self.mean.shape, (n, 3)),
            ("identity", self.identity.shape, (n, 3, None)),
            ("expression", self.expression.shape, (n, 3, e)),
            ("triangles", self.triangles.shape, (None, 3)),
            ("albedo_mean", self.albedo_mean.shape, (n, 3)),
            ("albedo", self.albedo.shape, (n, 3, None)),
            ("uv", self.uv.shape, (None, 2)),
            ("uv_triangles", self.uv_triangles.shape, (None, 3)),
        ]
        for label, shape, want in expected:
            if len(shape) != len(want) or any(w is not None and s != w for s, w in zip(shape, want)):
                wanted = tuple("any" if w is None else w for w in want)
                raise ModelError(f"model {self.name!r}: {label} has shape {shape}, expected {wanted}")
        self._check_indices(n)

    def _check_indices(self, n: int) -> None:
        checks: list[tuple[str, Int32, int]] = [("triangles", self.triangles, n)]
        if len(self.uv_triangles):
            checks.append(("uv_triangles", self.uv_triangles, len(self.uv)))
        checks += [(f"landmarks {k}", v.vertices, n) for k, v in self.landmarks.items()]
        checks += [(f"contour {k}", v.candidates, n) for k, v in self.contours.items()]
        if self.symmetry is not None:
            checks.append(("symmetry", self.symmetry, n))
        for corrective in self.correctives:
            label = f"corrective of expression {corrective.unit}"
            checks.append((label, corrective.vertices, n))
            wanted = (len(corrective.vertices), 3, self.n_identity)
            if not 0 <= corrective.unit < self.n_expression or corrective.basis.shape != wanted:
                raise ModelError(
                    f"model {self.name!r}: {label} has shape {corrective.basis.shape}, expected {wanted} and "
                    f"an expression below {self.n_expression}"
                )
        if not 0 <= 2 * self.quads <= len(self.triangles):
            raise ModelError(f"model {self.name!r}: {self.quads} quads in {len(self.triangles)} triangles")
        for label, index, limit in checks:
            if index.size and (int(index.min()) < 0 or int(index.max()) >= limit):
                raise ModelError(f"model {self.name!r}: {label} refers to vertices outside 0..{limit - 1}")
        for label, mask in self.regions.items():
            if mask.shape != (n,):
                raise ModelError(
                    f"model {self.name!r}: region {label} has shape {mask.shape}, expected ({n},)"
                )

    @property
    def n_vertices(self) -> int:
        return len(self.mean)

    @property
    def face_vertices(self) -> NDArray[np.bool_]:
        """(N,) the skin that photos of a face show: hairline to chin, cheek to cheek; all vertices if not
        known."""
        for name in ("narrow_face", "face"):
            if name in self.regions:
                return self.regions[name]
        return np.ones(self.n_vertices, bool)

    def region(self, *names: str) -> NDArray[np.bool_]:
        """(N,) the vertices of the named regions together; none of those that the model does not name."""
        out = np.zeros(self.n_vertices, bool)
        for name in names:
            if name in self.regions:
                out |= self.regions[name]
        return out

    @property
    def eyeballs(self) -> NDArray[np.bool_]:
        """(N,) vertices of the eyeballs; none where the model does not name them."""
        return self.region("eyeballs")

    @property
    def size_change(self) -> Float32:
        """(K,) relative change of the face's size for one standard deviation of each identity component."""
        face = self.face_vertices
        centred = self.mean[face] - self.mean[face].mean(axis=0)
        change = np.einsum("nik,ni->k", self.identity[face], centred)
        return np.asarray(change / max(float((centred**2).sum()), 1e-9), np.float32)

    @property
    def n_identity(self) -> int:
        return self.identity.shape[2]

    @property
    def n_expression(self) -> int:
        return self.expression.shape[2]

    @property
    def n_albedo(self) -> int:
        return self.albedo.shape[2]

    @property
    def expression_bounds(self) -> tuple[float, float]:
        """Range that expression coefficients are kept in by the fitters."""
        return (0.0, 1.0) if self.expression_kind == "blendshape" else (-4.0, 4.0)

    def shape(self, identity: ArrayLike | None = None, expression: ArrayLike | None = None) -> Float32:
        """(N, 3) float32 vertices in mm. Shorter coefficient vectors leave the remaining components at
        zero."""
        out = self.mean.reshape(-1).copy()
        for basis, coefficients, label in (
            (self.identity, identity, "identity"),
            (self.expression, expression, "expression"),
        ):
            if coefficients is not None:
                out += _apply(basis, coefficients, label)
        shape = out.reshape(-1, 3)
        if identity is not None and expression is not None:
            self.correct(shape, np.asarray(identity, np.float32), np.asarray(expression, np.float32))
        return shape

    def correct(self, shape: Float32, identity: Float32, expression: Float32) -> None:
        """Add the correctives of expression weights (E,), or of their change, to a shape (N, 3) of an
        identity (K,), in place."""
        for corrective in self.correctives:
            weight = expression[corrective.unit] if corrective.unit < len(expression) else 0.0
            if weight != 0.0:
                change = corrective.basis[:, :, : len(identity)] @ identity
                shape[corrective.vertices] += np.float32(weight) * change

    def expression_of(self, identity: ArrayLike) -> Float32:
        """Displacement of each expression on the face of one identity, correctives applied.

        Args:
            identity: Up to K identity coefficients; those left out are 0.

        Returns:
            (N, 3, E) mm; the model's own array where it has no correctives.
        """
        coefficients = np.asarray(identity, np.float32)
        if not self.correctives:
            return self.expression
        out = self.expression.copy()
        for corrective in self.correctives:
            change = corrective.basis[:, :, : len(coefficients)] @ coefficients
            out[corrective.vertices, :, corrective.unit] += change
        return out

    def restricted(self, vertices: NDArray[np.bool_]) -> FaceModel:
        """The model of some of its vertices, with the same coefficients.

        Triangles, landmarks, outline candidates and correctives that need another vertex are left out;
        landmark sets keep their length only if they are whole, so a set with a lost point is left out too.

        Args:
            vertices: (N,) mask of the vertices to keep.

        Returns:
            A smaller model; its vertices are in the old order.
        """
        number = np.full(self.n_vertices, -1, np.int32)
        number[vertices] = np.arange(int(vertices.sum()), dtype=np.int32)
        whole: NDArray[np.bool_] = np.asarray(vertices[self.triangles].all(axis=1))
        landmarks = {
            name: replace(points, vertices=number[points.vertices])
            for name, points in self.landmarks.items()
            if vertices[points.vertices].all()
        }
        contours: dict[str, Contour] = {}
        for name in landmarks:
            if name not in self.contours:
                continue
            kept = self.contours[name]
            rows = vertices[kept.candidates].all(axis=1)
            contours[name] = Contour(kept.landmarks[rows], number[kept.candidates[rows]])
        mirror = None if self.symmetry is None else number[self.symmetry[vertices]]
        # a quad that loses one of its triangles is none: the other one moves behind the quads
        pairs: NDArray[np.bool_] = np.asarray(whole[: 2 * self.quads].reshape(-1, 2).all(axis=1))
        in_quad = np.append(np.repeat(pairs, 2), np.zeros(len(whole) - 2 * self.quads, bool))
        order = np.append(np.flatnonzero(in_quad), np.flatnonzero(whole & ~in_quad))
        return replace(
            self,
            mean=self.mean[vertices],
            identity=self.identity[vertices],
            expression=self.expression[vertices],
            triangles=number[self.triangles[order]],
            albedo_mean=self.albedo_mean[vertices],
            albedo=self.albedo[vertices],
            uv_triangles=self.uv_triangles[order] if len(self.uv_triangles) else self.uv_triangles,
            landmarks=landmarks,
            contours=contours,
            regions={name: mask[vertices] for name, mask in self.regions.items()},
            symmetry=None if mirror is None or (mirror < 0).any() else mirror,
            correctives=tuple(
                Corrective(c.unit, number[c.vertices[known]], c.basis[known])
                for c in self.correctives
                for known in [vertices[c.vertices]]
                if known.any()
            ),
            quads=int(pairs.sum()),
        )

    def skin(self, albedo: ArrayLike | None = None) -> Float32:
        """(N, 3) float32 albedo, sRGB-coded; values may leave [0, 1] slightly, clip for display."""
        out = self.albedo_mean.reshape(-1).copy()
        if albedo is not None:
            out += _apply(self.albedo, albedo, "albedo")
        return out.reshape(-1, 3)

    def expression_weights(self, weights: Mapping[str, float]) -> Float32:
        """(E,) vector of weights by name.

        Args:
            weights: Weights of the model's expressions, or of mixes of ARKit's units in
                `named_expressions.NAMED` ("smile", "viseme_aa"); contributions to one unit add up.

        Raises:
            ModelError: An unknown name, or a mix that needs a unit that the model does not have.
        """
        index = {name: i for i, name in enumerate(self.expression_names)}
        out = np.zeros(self.n_expression, np.float32)
        for name, weight in weights.items():
            if name not in index and name not in NAMED:
                groups = [n for n, parts in NAMED.items() if all(p in index for p in parts)]
                known = hint(name, [*index, *groups])
                raise ModelError(f"model {self.name!r} has no expression {name!r}; {known}")
            for part, share in ({name: 1.0} if name in index else NAMED[name]).items():
                if part not in index:
                    raise ModelError(f"expression {name!r} needs {part}, which model {self.name!r} has not")
                out[index[part]] += share * weight
        return out

    def truncated(self, identity: int | None = None, albedo: int | None = None) -> FaceModel:
        """The same model with only the first components."""
        return replace(
            self,
            identity=self.identity[:, :, :identity],
            albedo=self.albedo[:, :, :albedo],
            correctives=tuple(replace(c, basis=c.basis[:, :, :identity]) for c in self.correctives),
        )


def _apply(basis: Float32, coefficients: ArrayLike, label: str) -> Float32:
    c = np.asarray(coefficients, dtype=np.float32).reshape(-1)
    k = basis.shape[2]
    if len(c) > k:
        raise ModelError(f"{len(c)} {label} coefficients given, the model has {k}")
    flat = basis.reshape(basis.shape[0] * 3, k)
    # some BLAS builds raise the invalid flag on finite operands
    with np.errstate(invalid="ignore"):
        return flat @ c if len(c) == k else flat[:, : len(c)] @ c


def concatenate_points(parts: Sequence[SurfacePoints]) -> SurfacePoints:
    """Landmark sets one after another."""
    return SurfacePoints(
        np.concatenate([p.vertices for p in parts]).astype(np.int32),
        np.concatenate([p.weights for p in parts]).astype(np.float32),
    )
