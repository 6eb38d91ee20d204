"""Tests that the committed manual, completions and tables of the documents equal the generated ones."""

import tomllib

import pytest

from man.source.generate import COMPLETIONS, ROOT, SCHEMA, documents, files, fill, main, others, table
from man.source.man import pages
from tunnelctl.cli.render.completion import SCRIPTS


def test_committed_files_are_up_to_date(capsys):
    assert main(["--check"]) == 0, f"run `python -m man.source.generate --write`:\n{capsys.readouterr().out}"


def test_all_generated_files_are_checked():
    names = {str(path.relative_to(ROOT)) for path in files(ROOT)}
    written = {str(path.relative_to(ROOT)) for path in documents(ROOT)}
    assert {"README.md", "docs/coming-from.md"} <= written
    assert {*COMPLETIONS.values(), *(f"man/{name}" for name in pages()), *written, SCHEMA} == names


def test_every_committed_page_has_a_template():
    assert {path.name for path in (ROOT / "man").glob("*.[1-8]")} == set(pages())


def test_the_wheel_contains_the_generated_files():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert {path for path, target in data.items() if target.startswith("share/")} >= set(COMPLETIONS.values())
    wanted = {f"man/{name}": f"share/man/man{name[-1]}/{name}" for name in pages()}
    wanted[SCHEMA] = "share/tunnelctl/events.schema.json"
    assert {path: target for path, target in data.items() if path.startswith("man/")} == wanted


def test_write_check_and_check_after_a_change(tmp_path, capsys):
    (tmp_path / "README.md").write_text("a\n<!-- flags:connect -->\nold\n<!-- /flags -->\nb\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/page.md").write_text("<!-- others -->\n<!-- /others -->\n")
    assert main(["--check"], tmp_path) == 1
    assert main(["--write"], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    assert (tmp_path / "man/tunnelctl.1").read_text() == pages()["tunnelctl.1"]
    assert (tmp_path / COMPLETIONS["fish"]).read_text() == SCRIPTS["fish"]()
    assert (tmp_path / "README.md").read_text() == f"a\n<!-- flags:connect -->\n{table('connect')}<!-- /flags -->\nb\n"
    assert (tmp_path / "docs/page.md").read_text() == f"<!-- others -->\n{others('')}<!-- /others -->\n"
    (tmp_path / "man/tunnelctl.1").write_text(pages()["tunnelctl.1"].replace("seconds", "minutes"))
    capsys.readouterr()
    assert main(["--check"], tmp_path) == 1
    assert "+++ man/tunnelctl.1 (generated)" in capsys.readouterr().out


def test_fill_keeps_other_text_and_is_idempotent():
    text = "x\n<!-- flags:serve -->\n<!-- /flags -->\ny\n<!-- flags:connect -->\nstale\n<!-- /flags -->\nz\n"
    filled = fill(text, "x.md")
    assert filled == fill(filled, "x.md")
    assert [filled.startswith("x\n"), filled.endswith("\nz\n"), "\ny\n" in filled, "stale" in filled] == [True, True, True, False]
    assert fill("no markers", "x.md") == "no markers"
    assert fill("a\n<!-- others -->\nold\n<!-- /others -->\nb", "x.md") == f"a\n<!-- others -->\n{others('')}<!-- /others -->\nb"


@pytest.mark.parametrize("text", ["<!-- flags:connect -->\nno end", "<!-- flags:nope -->\n<!-- /flags -->", "<!-- others -->\n"])
def test_a_broken_marker_is_an_error(text):
    with pytest.raises(SystemExit, match=r"x\.md"):
        fill(text, "x.md")


def test_table_prints_a_table_on_stdout(capsys):
    assert main(["--table", "connect"]) == 0
    out = capsys.readouterr().out
    assert out == table("connect")
    assert "| `-x, --proxy URL` |" in out
    assert all(line.startswith("|") and line.endswith("|") for line in out.splitlines())


@pytest.mark.parametrize("argv", [[], ["--nope"], ["--table"], ["--table", "nope"], ["--write", "x"]])
def test_wrong_arguments_print_usage(argv, capsys):
    assert main(argv) == 2
    assert "--check" in capsys.readouterr().err
