"""The manual's EXAMPLES, by page."""

import re

from man.source.man import pages


def blocks(page: str) -> list[str]:
    """Returns the literal blocks of a page's section EXAMPLES, as a reader would copy them."""
    section = page.partition("\n.SH EXAMPLES\n")[2].partition("\n.SH ")[0]
    found = re.findall(r"^\.nf\n(.*?)^\.fi$", section, re.M | re.S)
    return [text.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\") for text in found]


EXAMPLES = {name.rpartition(".")[0].removeprefix("tunnelctl-"): blocks(page) for name, page in pages().items()}
