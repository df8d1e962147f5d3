"""Looks at a Python project: every file compiles, and its metadata is complete. Writes Taskotron's ResultYAML."""

import ast
import json
import os
import pathlib
import re
import sys
import tomllib


def syntax(project):
    """The outcome for all files together, and what is wrong with the first few of them."""
    wrong, files = [], 0
    for path in sorted(project.rglob("*.py")):
        if not path.is_file() or path.is_symlink():
            continue
        files += 1
        try:
            ast.parse(path.read_bytes(), filename=str(path.relative_to(project)))
        except (SyntaxError, ValueError) as error:
            print(f"{path.relative_to(project)}: {error}")
            wrong.append(f"{path.relative_to(project)}: {error}")
    if not files:
        return "NEEDS_INSPECTION", "there is no Python file"
    return ("FAILED", "; ".join(wrong[:5])) if wrong else ("PASSED", f"{files} files compile")


def metadata(project):
    """Whether pyproject.toml has what an index asks for."""
    file = project / "pyproject.toml"
    if not file.is_file():
        return "NEEDS_INSPECTION", "there is no pyproject.toml"
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return "FAILED", f"pyproject.toml: {error}"
    said = said.get("project", {})
    dynamic = said.get("dynamic", [])
    wrong = [f"no {key}" for key in ("name", "version") if key not in said and key not in dynamic]
    name, version = said.get("name", "x"), said.get("version", "1")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", str(name)):
        wrong.append(f"{name!r} is no name of a project")
    if not re.fullmatch(r"v?(\d+!)?\d+(\.\d+)*([._-]?(a|b|rc|alpha|beta|c|pre|preview|post|rev|r|dev)[._-]?\d*)*(\+[a-z0-9._-]+)?", str(version), re.I):
        wrong.append(f"{version!r} is no version")
    warnings = [f"no {key}" for key in ("description", "requires-python") if key not in said and key not in dynamic]
    if wrong:
        return "FAILED", "; ".join(wrong)
    return ("NEEDS_INSPECTION", "; ".join(warnings)) if warnings else ("PASSED", f"{name} {version}")


def main():
    project = pathlib.Path(sys.argv[1])
    if not project.is_dir():
        results = [{"outcome": "ERROR", "note": f"there is no folder {project}"}]
    else:
        results = []
        for check in (syntax, metadata):
            outcome, note = check(project)
            print(f"{check.__name__}: {outcome} ({note})")
            results.append({"checkname": f"dist.python-check.{check.__name__}", "outcome": outcome, "note": note})
    # Every JSON text is YAML.
    pathlib.Path(os.environ["TASKOTRON_RESULTS"]).write_text(json.dumps({"results": results}), encoding="utf-8")
    sys.exit(any(result["outcome"] in ("FAILED", "ERROR") for result in results))


main()
