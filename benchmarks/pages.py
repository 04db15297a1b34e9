"""Tables that a benchmark keeps up to date inside a page that is otherwise written by hand."""

from collections.abc import Sequence
from pathlib import Path


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
  """A table of a page."""
  lines = [header, ["---"] * len(header), *rows]
  return "\n".join("| " + " | ".join(str(entry) for entry in line) + " |" for line in lines)


def replace(page: Path, name: str, text: str) -> None:
  """Puts a text between the two comments `<!-- NAME -->` and `<!-- end NAME -->` of a page."""
  opening, closing = f"<!-- {name} -->\n", f"\n<!-- end {name} -->"
  before, rest = page.read_text().split(opening)
  _, after = rest.split(closing)
  page.write_text(f"{before}{opening}\n{text}\n{closing}{after}")
