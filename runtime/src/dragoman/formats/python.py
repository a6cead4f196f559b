"""A .py file with a subclass of `dragoman.Model`: code. The files beside it are its own."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from dragoman.authoring import Model
from dragoman.errors import ModelLoadFailed
from dragoman.formats.authored import of_model
from dragoman.formats.format import Candidate, LoadedModel, ModelFiles, Recognised, Settings
from dragoman.formats.unpickle import guarded
from dragoman.hosting import hosted

_MAX_SOURCE_BYTES = 1024 * 1024
_PREFIX = "dragoman_model_"
_BASES: Mapping[str, frozenset[str]] = {  # what a model derives from, by the module that it is imported from
    "dragoman": frozenset({"Model"}),
    "dragoman.authoring": frozenset({"Model"}),
    "dragoman.seldon": frozenset({"Recommender", "Pipeline"}),
}
_APPS: Mapping[str, frozenset[str]] = {  # what an application is made by; its object has `__dragoman_model__`, which gives a LoadedModel
    "dragoman.porter.services": frozenset({"ModelApp"}),
}
_folders: set[Path] = set()  # of the models that this process imported


class Python:
    name: ClassVar[str] = "python"

    def recognises(self, candidate: Candidate, *, declared: bool = False) -> Recognised | None:
        if candidate.suffix != ".py":
            return None
        tree = _parsed(candidate.path)
        if tree is not None and _makes_app(tree):
            return Recognised("Python with an application", runs_code=True)
        classes = [] if tree is None else _model_classes(tree)
        if classes:
            return Recognised(f"Python with the model {classes[-1]}", runs_code=True)
        return Recognised("Python", runs_code=True, sure=False) if declared else None

    def load(self, files: ModelFiles, file: str, settings: Settings) -> LoadedModel:
        with guarded(file) as heard, hosted():
            module = _imported(files.path(file), files.folder, files.digest)
            app = _app(module, file)
            if app is not None:
                loaded: LoadedModel = app.__dragoman_model__()
                return dataclasses.replace(loaded, warnings=(*heard.lines, *loaded.warnings))
            model = _model_class(module, file)()
        return of_model(model, files.folder, file, settings, tuple(heard.lines))


def _parsed(path: Path) -> ast.Module | None:
    """A source's syntax: nothing is run. None where it is none."""
    if path.stat().st_size > _MAX_SOURCE_BYTES:
        return None
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last is what CPython says of deep nesting
        return None


def _makes_app(tree: ast.Module) -> bool:
    names = _names(tree, _APPS)
    return any(isinstance(node, ast.Call) and ast.unparse(node.func) in names for node in ast.walk(tree)) if names else False


def _model_classes(tree: ast.Module) -> list[str]:
    """Classes of a source that derive from dragoman's Model."""
    bases = _names(tree, _BASES)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) in bases for base in node.bases):
            bases.add(node.name)
            found.append(node.name)
    return found


def _names(tree: ast.Module, of: Mapping[str, frozenset[str]]) -> set[str]:
    """What these classes, by the module that they are imported from, are called in this source."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if alias.name in of.get(node.module, ()):
                    names.add(alias.asname or alias.name)
                names |= {f"{alias.asname or alias.name}.{base}" for base in of.get(f"{node.module}.{alias.name}", ())}
        elif isinstance(node, ast.Import):
            names |= {f"{alias.asname or alias.name}.{base}" for alias in node.names for base in of.get(alias.name, ())}
    return names


def _app(module: ModuleType, file: str) -> Any:
    """The module's application, if it has one. `ModelLoadFailed` where it has several."""
    found = {id(value): name for name, value in vars(module).items() if hasattr(type(value), "__dragoman_model__")}
    if len(found) > 1:
        raise ModelLoadFailed(f"{file} must have one application, and has {', '.join(found.values())}")
    return vars(module)[next(iter(found.values()))] if found else None


def _imported(path: Path, folder: Path, digest: str) -> ModuleType:
    """The source as a module of its own name; modules beside it can be imported, by it, as in any script."""
    sys.dont_write_bytecode = True  # the folder is a cache of checked bytes, shared and perhaps read-only
    _forget_others(folder)
    _folders.add(folder)
    name = f"{_PREFIX}{digest.removeprefix('sha256:')[:12] or 'local'}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelLoadFailed(f"{path.name} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where pickle and dataclasses look for its classes
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # for what it imports later, after everything else
    return module


def _forget_others(folder: Path) -> None:
    """Two models may each have a `features.py`: the second must not be given the first's."""
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if origin is not None and not name.startswith(_PREFIX) and any(_is_source_of(f, Path(origin)) for f in _folders - {folder}):
            del sys.modules[name]


def _is_source_of(folder: Path, origin: Path) -> bool:
    """A model's own module: in its folder, and not of an environment that happens to be there too."""
    return origin.is_relative_to(folder) and not {"site-packages", "dist-packages"} & set(origin.relative_to(folder).parts)


def _model_class(module: ModuleType, file: str) -> type[Model]:
    own = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Model) and v.__module__ == module.__name__]
    leaves = [c for c in own if not any(c is not d and issubclass(d, c) for d in own)]
    if len(leaves) != 1:
        names = ", ".join(c.__name__ for c in leaves) or "none"
        raise ModelLoadFailed(f"{file} must have one subclass of dragoman.Model, and has {names}")
    return leaves[0]
