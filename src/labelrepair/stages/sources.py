"""Which source files a function really uses, followed name by name through a project's modules.

Following imports alone is too coarse: a module of steps imports what all steps need, and every
stage would run again after every edit. So only the names that a definition mentions are followed.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# What imports modules by a name that is made at run time: its package is taken whole.
DYNAMIC = ("importlib", "import_module", "pkgutil", "__import__")


@dataclass
class _Module:
    """One parsed file: its definitions, and what its imports bind to (module, name or "")."""

    name: str
    package: str
    definitions: dict[str, list[ast.AST]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


class SourceTree:
    """The modules below one source folder."""

    def __init__(self, root: Path) -> None:
        """Name the folder that is on Python's path, usually ``src``."""
        self._root = root
        self._modules: dict[str, _Module | None] = {}
        self._seen: set[tuple[str, str]] = set()

    def used_by(self, functions: Iterable[tuple[Path, str]]) -> list[Path]:
        """Return the files that functions use, and folders of which all modules are used.

        Args:
            functions: file and name of each; an unknown name (a lambda, a partial) takes the file.
                The folders of these files are taken whole: what builds a pipeline counts too.
        """
        self._seen, folders = set(), set()
        for file, name in functions:
            self._follow(self._name(file), name)
            folders.add(file.parent)
        files = {self._file(name) for name, _ in self._seen}
        folders |= {f.parent for f in files if files.issuperset(f.parent.glob("*.py"))}
        whole = {file for file in files | folders if not folders.intersection(file.parents)}
        return sorted(whole)

    def _name(self, file: Path) -> str:
        parts = file.relative_to(self._root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _file(self, name: str) -> Path:
        base = self._root.joinpath(*name.split("."))
        package = base / "__init__.py"
        return package if package.exists() else base.with_suffix(".py")

    def _module(self, name: str) -> _Module | None:
        """Parse a module once; None if it is not below the source folder."""
        if name not in self._modules:
            file = self._file(name)
            self._modules[name] = _parse(name, file) if name and file.exists() else None
        return self._modules[name]

    def _follow(self, module_name: str, name: str) -> None:
        """Follow one name of one module, or "*" for all of them."""
        module = self._module(module_name)
        if module is None or (module_name, name) in self._seen:
            return
        self._seen.add((module_name, name))
        if name in module.definitions:
            for node in module.definitions[name]:
                self._follow_inside(module, node)
        elif name in module.imports:
            self._follow_import(*module.imports[name])
        elif self._module(f"{module_name}.{name}"):
            self._follow(f"{module_name}.{name}", "*")
        else:
            for inner in module.definitions:
                self._follow(module_name, inner)

    def _follow_import(self, target: str, name: str, attribute: str = "") -> None:
        """Follow ``from target import name``, used whole or by one attribute."""
        if not name:
            self._follow(target, attribute or "*")
        elif self._module(f"{target}.{name}"):
            self._follow(f"{target}.{name}", attribute or "*")
        else:
            self._follow(target, name)

    def _follow_inside(self, module: _Module, node: ast.AST) -> None:
        """Follow every name that a definition mentions."""
        imports = {**module.imports, **_imports(ast.walk(node), module.package)}
        attributes = {
            id(inner.value): inner.attr
            for inner in ast.walk(node)
            if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name)
        }
        for inner in ast.walk(node):
            if not isinstance(inner, ast.Name):
                continue
            if inner.id in DYNAMIC:
                self._follow_package(module.package)
            elif inner.id in module.definitions:
                self._follow(module.name, inner.id)
            elif inner.id in imports:
                self._follow_import(*imports[inner.id], attributes.get(id(inner), ""))

    def _follow_package(self, package: str) -> None:
        """Follow all of a package: its modules are loaded by name."""
        for file in sorted(self._root.joinpath(*package.split(".")).glob("*.py")):
            self._follow(self._name(file), "*")


def _parse(name: str, file: Path) -> _Module:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    module = _Module(name, package, imports=_imports(ast.walk(tree), package))
    for node in tree.body:
        for bound in _bound(node):
            module.definitions.setdefault(bound, []).append(node)
    return module


def _bound(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of a module defines, below ``if`` and ``try`` too."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif not isinstance(node, ast.Import | ast.ImportFrom):
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id


def _imports(nodes: Iterable[ast.AST], package: str) -> dict[str, tuple[str, str]]:
    """Return what import statements bind: local name -> (module, name or "" for the module)."""
    found: dict[str, tuple[str, str]] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.split(".")[0]] = (alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            target = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                found[alias.asname or alias.name] = (target, alias.name)
    return found
