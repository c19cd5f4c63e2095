"""The section of a page: kept whole, part by part."""

from __future__ import annotations

import pytest

from facerelief.errors import FacereliefError
from facerelief.lab.evaluation.compare.page import CLOSE, HEADING, OPEN, with_section

PAGE = f"# Results\n\ntext\n\n{OPEN}\n{CLOSE}\n\n## Afterwards\n"


class TestSection:
    def test_between_the_lines_and_nowhere_else(self):
        page = with_section(PAGE, {"pictures": "one | two"})
        assert page.startswith(f"# Results\n\ntext\n\n{OPEN}\n\n{HEADING}\n")
        assert page.endswith(f"{CLOSE}\n\n## Afterwards\n")
        assert "one | two" in page

    def test_twice_changes_nothing(self):
        page = with_section(PAGE, {"pictures": "a", "speed": "b"})
        assert with_section(page, {"pictures": "a", "speed": "b"}) == page
        assert with_section(page, {}) == page

    def test_what_was_not_measured_stays(self):
        page = with_section(with_section(PAGE, {"speed": "fast"}), {"pictures": "near"})
        assert page.index("near") < page.index("fast")  # in their order, not that of writing
        page = with_section(page, {"speed": "faster"})
        assert "near" in page
        assert "fast\n" not in page

    @pytest.mark.parametrize("page", ["", "# Results\n\ntext\n", "# Results"])
    def test_a_page_without_the_lines_gets_them_at_its_end(self, page):
        found = with_section(page, {"photos": "x"})
        assert found.startswith(page.strip())
        assert found.endswith(f"{CLOSE}\n")
        assert with_section(found, {"photos": "x"}) == found

    @pytest.mark.parametrize("page", [OPEN, CLOSE, f"{CLOSE}\n{OPEN}", f"{OPEN}{CLOSE}{OPEN}{CLOSE}"])
    def test_half_a_section_is_refused(self, page):
        with pytest.raises(FacereliefError, match="correct the page"):
            with_section(page, {"photos": "x"})
