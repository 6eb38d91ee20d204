"""XML: the settings of Maven, and those of the JetBrains IDEs."""

from dataclasses import dataclass
from html import escape  # also right for XML; xml.sax.saxutils takes 18 ms to load, for urllib.request
from xml.etree import ElementTree

from tunnelctl.cli.setup.formats.model import Path, Settings, Value, text_of


@dataclass(frozen=True)
class MavenSettings:
    """One `<proxy>` of settings.xml. A path is the name of one of its elements."""

    comment: str = ""
    appendable: bool = False

    def render(self, settings: Settings) -> str:
        inner = "".join(f"      <{name}>{escape(text_of(value), quote=False)}</{name}>\n" for (name,), value in settings.items())
        return f"<settings>\n  <proxies>\n    <proxy>\n{inner}    </proxy>\n  </proxies>\n</settings>\n"

    def read(self, text: str) -> Settings:
        """Reads the first proxy that is active, the only one that Maven uses. Leaves the names of namespaces out."""
        for proxy in _parsed(text).iter():
            if _name(proxy) == "proxy":
                found: dict[Path, Value] = {(_name(child),): (child.text or "").strip() for child in proxy}
                if found.get(("active",), "true") == "true":
                    return found
        return {}


@dataclass(frozen=True)
class JetBrainsOptions:
    """The options of one component, each an element with the attributes `name` and `value`. A path is the name of an option."""

    component: str
    comment: str = ""
    appendable: bool = False

    def render(self, settings: Settings) -> str:
        inner = "".join(
            f"    <option name={_quoted(name)} value={_quoted(text_of(value))} />\n" for (name,), value in settings.items()
        )
        head, end = f"<component name={_quoted(self.component)}>", "</component>"
        return f"<application>\n  {head}\n{inner}  {end}\n</application>\n"

    def read(self, text: str) -> Settings:
        return {
            (option.get("name", ""),): option.get("value", "")
            for component in _parsed(text).iter("component")
            if component.get("name") == self.component
            for option in component.iter("option")
        }


def _quoted(text: str) -> str:
    """Returns the text as the value of an attribute. No setting has a line end or a tab, which would need more."""
    return f'"{escape(text)}"'


def _parsed(text: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError("not XML") from error


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
