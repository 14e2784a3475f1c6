"""The shape of `lib`: few floors, no circle, no arrow back up, reading apart from running."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

import lib

LIB = Path(lib.__file__).parent
#: The rooms in the order of the map at the door.
ROOMS = re.findall(r"^    (\w+) {2,}\S", lib.__doc__, re.MULTILINE)


def imported(path: Path) -> set[str]:
    """The rooms of `lib` that a module imports, at its head or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "lib":
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lib."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("lib.")}
    return found


def arrows() -> dict[str, set[str]]:
    """Room to the other rooms it imports."""
    graph: dict[str, set[str]] = {}
    for path in LIB.rglob("*.py"):
        room = path.relative_to(LIB).parts[0].removesuffix(".py")
        if not room.startswith("__"):
            graph.setdefault(room, set()).update(imported(path) - {room})
    return graph


def test_the_map_names_every_room_once():
    rooms = {path.stem for path in LIB.iterdir() if path.suffix == ".py" or path.is_dir()} - {
        "__init__",
        "__main__",
        "__pycache__",
    }
    assert sorted(ROOMS) == sorted(rooms) and len(rooms) < 20


def test_every_arrow_leads_down():
    upward = [
        f"{room} -> {other}"
        for room, others in arrows().items()
        for other in others
        if ROOMS.index(other) > ROOMS.index(room)
    ]
    assert not upward


def test_the_tower_has_nine_floors_at_most():
    graph = arrows()

    def floor(room: str) -> int:
        return 1 + max((floor(other) for other in graph.get(room, ())), default=0)

    assert max(map(floor, graph)) <= 9


@pytest.mark.parametrize("room", ["records", "paper", "figures", "pages"])
def test_reading_needs_no_torch(room):
    files = [LIB / f"{room}.py"] if (LIB / f"{room}.py").is_file() else sorted((LIB / room).glob("*.py"))
    # The theory's pictures show examples that are tensors; only its chapters import them.
    modules = [
        ".".join(path.relative_to(LIB).with_suffix("").parts) for path in files if path != LIB / "figures" / "theory.py"
    ]
    code = "import importlib, sys\n" + "".join(
        f"importlib.import_module('lib.{name.removesuffix('.__init__')}')\n" for name in modules
    )
    code += "print(*[name for name in ('torch', 'numba') if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=LIB.parent, check=True)
    assert loaded.stdout.split() == []


def test_every_mutant_has_its_line():
    """A mutant whose line has moved would be tried on nothing."""
    gone = [one.name for one in mutants.MUTANTS if (LIB.parent / one.file).read_text().count(one.old) != 1]
    assert not gone
