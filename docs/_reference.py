"""API reference from the docstrings, which are Markdown with formulas: written as MyST pages, one per sub-package."""

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

PACKAGES = (
    "theories",
    "theories.exact",
    "fermions",
    "observables",
    "manifolds",
    "gauge",
    "groups",
    "lattice",
    "priors",
    "fields",
    "transforms",
    "solvers",
    "flows",
    "kernels",
    "stochastic",
    "models",
    "training",
    "samplers",
    "statistics",
    "io",
    "plotting",
)


def write_reference(folder: Path) -> None:
    """One page per sub-package and an index; files are rewritten only if they change."""
    folder.mkdir(exist_ok=True)
    pages = [name for name in PACKAGES if importlib.util.find_spec(f"trivmap.{name}")]
    for name in pages:
        _write(folder / f"{name}.md", _page(importlib.import_module(f"trivmap.{name}"), name))
    intro = (
        "# Reference\n\nThe names met first are also at `trivmap.NAME`; exact results are at `trivmap.exact.NAME`, "
        "objectives at `trivmap.objectives.NAME`. Examples run in the tests, where `theory` is U(1) on 4x4, `scalar` phi^4 "
        "on 4x4, `links` and `phi` configurations of them, `model` a continuous flow to `theory`, `ensemble` and `chain` "
        "samples of both, `key` a JAX key and `folder` a path."
    )
    toctree = "\n".join(["```{toctree}", *pages, "```"])
    _write(folder / "index.md", f"{intro}\n\n{toctree}\n")


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _page(module: ModuleType, name: str) -> str:
    head = f"# {name}\n\n{_markdown(inspect.getdoc(module) or '')}\n\n"
    return head + "\n".join(_entry(key, value, f"trivmap.{name}") for key, value in _public(module))


def _public(module: ModuleType) -> list[tuple[str, object]]:
    """What the sub-package exports: its own classes and functions, and named constants."""
    found = []
    for name, value in vars(module).items():
        if name.startswith("_") or inspect.ismodule(value):
            continue
        if getattr(value, "__module__", "").startswith("trivmap.") and callable(value):
            found.append((name, value))
    return sorted(found, key=lambda item: item[0].lower())


def _entry(name: str, value: object, module: str) -> str:
    kind = "class" if inspect.isclass(value) else "function"
    body = _own_doc(value)
    methods = "" if kind == "function" else "\n".join(_method(n, m) for n, m in _methods(value))
    return _directive(kind, f"{name}{_signature(value)}", f":module: {module}\n\n{body}\n\n{methods}", ":::::")


def _markdown(docstring: str) -> str:
    """A docstring with the underscores of its plain-text formulas kept from being read as emphasis."""
    parts = re.split(r"(`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|^ {4}[^\n]*$)", docstring, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if i % 2 else part.replace("_", r"\_") for i, part in enumerate(parts))


def _own_doc(value: object) -> str:
    # A dataclass without a docstring gets its signature for one, which says nothing new.
    doc = inspect.getdoc(value) or ""
    return "" if doc.startswith(f"{getattr(value, '__name__', '')}(") else _markdown(doc)


def _methods(cls: type) -> list[tuple[str, object]]:
    """Documented public methods and properties that the class itself defines."""
    return [(n, m) for n, m in vars(cls).items() if not n.startswith("_") and _member_doc(m)]


def _member_doc(member: object) -> str:
    target = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    return (target.__doc__ or "") if inspect.isroutine(target) or hasattr(target, "__wrapped__") else ""


def _method(name: str, member: object) -> str:
    if isinstance(member, property):
        return _directive("property", name, _markdown(inspect.cleandoc(_member_doc(member))), "::::")
    flag = ":classmethod:\n\n" if isinstance(member, classmethod) else ""
    target = getattr(member, "__func__", member)
    body = flag + _markdown(inspect.cleandoc(_member_doc(member)))
    return _directive("method", f"{name}{_signature(target, drop_first=True)}", body, "::::")


def _directive(kind: str, title: str, body: str, fence: str) -> str:
    return f"{fence}{{py:{kind}}} {title}\n{body}\n{fence}\n"


def _signature(value: object, drop_first: bool = False) -> str:
    """Names and defaults; types and shapes are in the text."""
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return "(...)"
    shown = [p.replace(annotation=inspect.Parameter.empty, default=_short(p.default)) for p in parameters[drop_first:]]
    return str(inspect.Signature(shown))


class _Name:
    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _short(default: object) -> object:
    if default is inspect.Parameter.empty or isinstance(default, (int, float, str, bool, tuple, type(None))):
        return default
    return _Name(getattr(default, "__name__", type(default).__name__))
