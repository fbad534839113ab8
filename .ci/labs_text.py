"""What the texts of the labs say: their command blocks, and what each text must have. Runs nothing."""
import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECTIONS = ["Goal", "Predict", "Commands", "What you should see", "Check", "Why", "Hints", "Answers", "For instructors"]
# Anything else would hide commands from this script.
FENCES = {"bash", "json", "text", "rust", "toml"}
MARKS = {"first-terminal", "third-terminal", "without-docker"}


class Failure(Exception):
    """What did not go as the text says."""


@dataclasses.dataclass
class Block:
    file: pathlib.Path
    line: int
    # Id of the lab whose heading is the last one above it.
    lab: str | None
    marks: list[str]
    text: str

    @property
    def terminal(self):
        """The terminal in which it stays."""
        return next((mark for mark in self.marks if mark.endswith("-terminal")), None)

    @property
    def ways(self):
        """In which ways of running the labs it is run."""
        compose, cargo = self.names("docker compose"), self.names("cargo")
        if compose and cargo:
            raise Failure(f"{self}: names both cargo and docker compose; a block is for one of the two ways, or for both")
        if compose:
            return {"compose"}
        return {"cargo"} if cargo or "without-docker" in self.marks else {"compose", "cargo"}

    def __str__(self):
        return f"{self.file.name}:{self.line}"

    def names(self, words):
        return re.search(rf"\b{words}\b", self.text) is not None


def blocks_of(file):
    """Every ```bash block, in order."""
    found, fence, lab = [], None, None
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line.lstrip().startswith("```"):
            if fence is not None:
                fence.append(line)
            elif heading := re.match(r"#+ Lab (\S+):", line):
                lab = heading[1]
            continue
        info = line.lstrip()[3:].split()
        if fence is not None:
            if info:
                raise Failure(f"{file.name}:{number}: a fence opens inside another one")
            if language == "bash":
                found.append(Block(file, opened, lab, marks, "\n".join(fence) + "\n"))
            fence = None
            continue
        if not line.startswith("```") or not info or info[0].partition(",")[0] not in FENCES:
            raise Failure(f"{file.name}:{number}: a fence is not indented, and its language is one of {sorted(FENCES)}")
        language, marks, fence, opened = info[0].partition(",")[0], info[1:], [], number
        if unknown := set(marks) - MARKS:
            raise Failure(f"{file.name}:{number}: the marks {sorted(unknown)} are none of {sorted(MARKS)}")
    if fence is not None:
        raise Failure(f"{file.name}:{opened}: the fence is never closed")
    return found


def is_lab(file):
    return file.name[0].isdigit()


def headings(file):
    """`# Lab 5: Title` and `## Lab 5-fix: Title`, each with its `**7 minutes.**`: id -> (title, minutes)."""
    found = re.findall(r"^#+ Lab (\S+): (.+)\n\n\*\*(\d+) minutes\.\*\*", file.read_text(), re.M)
    return {lab: (title, int(minutes)) for lab, title, minutes in found}


def check_texts(files):
    """The parts that each text has, and where it links to."""
    wrong = []
    for file in files:
        text = file.read_text()
        if is_lab(file):
            parts = [part for part in re.findall(r"^## (.+)$", text, re.M) if not part.startswith("Lab ")]
            if parts != SECTIONS:
                wrong.append(f"{file.name} has the parts {parts}, not {SECTIONS}")
        wrong += [f"{file.name}: an excerpt is empty" for _ in re.findall(r"^```\S+\n```", text, re.M)]
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in target and not (file.parent / target).exists():
                wrong.append(f"{file.name} links to {target}, which is not there")
    if wrong:
        raise Failure("\n".join(wrong))


def check_titles(files, labs):
    """Titles and minutes in the texts and in their index, against what the service says."""
    served = {lab["id"]: (lab["title"], lab["minutes"]) for lab in labs}
    told = {lab: said for file in files for lab, said in headings(file).items()}
    rows = re.findall(r"^\| \[(\S+)\]\(\S+\) \| ([^|]+) \| (\d+) \|", (ROOT / "labs/README.md").read_text(), re.M)
    listed = {lab: (title.strip(), int(minutes)) for lab, title, minutes in rows}
    for where, these in (("the texts", told), ("the index", listed)):
        if these != served:
            raise Failure(f"{where} and GET /admin/labs differ in {sorted(set(these.items()) ^ set(served.items()))}")
