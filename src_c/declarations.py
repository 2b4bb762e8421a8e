"""Makes Cython's declarations of the C API from its headers, so that nobody types them twice.

The compiler's own preprocessor expands the macros. What remains is read by a parser of the little C that the
headers use: enums, structs of plain members, pointers to functions, and prototypes. It refuses all else.
"""

import os
import re
import subprocess
from pathlib import Path

BASE_TYPES = {"void", "char", "int", "long", "float", "double", "ptrdiff_t", "int32_t", "int64_t", "uint8_t",
              "uint32_t", "uint64_t"}
TOKEN = re.compile(r"[A-Za-z_]\w*|\d\w*|\S")


class NotUnderstood(Exception):
    """The headers hold C that this parser does not know."""


def preprocessed(cc, header):
    """The lines of a header, and of what it includes from its own folder, as the C compiler reads them.

    Args:
        cc: the command of the compiler, as a list.
        header: its path.
    """
    folder = Path(header).parent
    done = subprocess.run([*cc, "-E", f"-I{folder}", str(header)], capture_output=True, text=True)
    if done.returncode:
        raise NotUnderstood(f"{header}: {done.stderr}")
    lines, ours = [], False
    for line in done.stdout.splitlines():
        marker = re.match(r'# \d+ "(.*?)"', line)
        if marker:
            ours = Path(marker.group(1)).parent == folder
        elif ours and not line.startswith("#"):         # a pragma
            lines.append(line)
    return "\n".join(lines)


class Parser:
    """Reads the text of a header; `lines` are its declarations for Cython, `enums` {name: values}."""

    def __init__(self, text):
        self.types, self.enums, self.numbers, self.lines = set(BASE_TYPES), {}, {}, []
        self.tokens, self.at = TOKEN.findall(text), 0
        while self.at < len(self.tokens):
            self.declaration()

    # ---------------------------------------------------------------- tokens
    def next(self):
        """The token here, which is behind us then."""
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else "the end"

    def near(self):
        """What stands around here, for an error."""
        return " ".join(self.tokens[max(0, self.at - 6) : self.at + 6])

    def skip(self, token):
        """Whether this token was here; it is behind us then."""
        here = self.tokens[self.at : self.at + 1] == [token]
        self.at += here
        return here

    def expect(self, token):
        """The token that must be here."""
        if not self.skip(token):
            raise NotUnderstood(f"expected {token!r} in: {self.near()}")

    def word(self):
        """The name that must be here."""
        token = self.next()
        if not re.match(r"[A-Za-z_]", token):
            raise NotUnderstood(f"expected a name, got {token!r} in: {self.near()}")
        return token

    # ---------------------------------------------------------------- declarations
    def declaration(self):
        """The next enum, struct, type or function."""
        if self.skip("enum"):
            self.enum()
            self.expect(";")
        elif not self.skip("typedef"):
            self.function()
        elif self.skip("enum"):
            self.enum(named=True)
            self.expect(";")
        elif self.skip("struct"):
            self.struct()
        else:
            base = self.type()
            name = self.word()
            self.expect(";")
            self.types.add(name)
            self.lines.append(f"ctypedef {base} {name}")

    def enum(self, named=False):
        """Its values, and the name behind them if it has one."""
        values, number = [], 0
        self.expect("{")
        while not self.skip("}"):
            name = self.word()
            if self.skip("="):
                number = self.whole_number()
            self.numbers[name] = number
            values.append(name)
            number += 1
            if not self.skip(","):
                self.expect("}")
                break
        name = self.word() if named else ""
        self.lines += [f"ctypedef enum {name}:" if named else "enum:", *(f"    {value}" for value in values)]
        if named:
            self.types.add(name)
            self.enums[name] = values

    def struct(self):
        """Its members, one to a line."""
        self.expect("{")
        members = []
        while not self.skip("}"):
            base = self.type()
            while True:
                members.append(self.member(base))
                if not self.skip(","):
                    break
            self.expect(";")
        name = self.word()
        self.expect(";")
        self.types.add(name)
        self.lines += [f"ctypedef struct {name}:", *(f"    {member}" for member in members)]

    def member(self, base):
        """``*name``, ``name[3]`` or ``(*name)(arguments)``, with its type."""
        if self.skip("("):
            self.expect("*")
            name = self.word()
            self.expect(")")
            return f"{base} (*{name})({self.arguments()}) noexcept nogil"
        stars = self.stars()
        text = f"{base} {stars}{self.word()}"
        if self.skip("["):
            text += f"[{self.whole_number()}]"
            self.expect("]")
        return text

    def function(self):
        """A prototype, or an inline function, of which the body does not count."""
        inline = self.skip("static") and self.skip("inline")
        base = self.type()
        stars = self.stars()
        name = self.word()
        text = f"{base} {stars}{name}({self.arguments()})"
        if inline:
            self.body()
        else:
            self.expect(";")
        self.lines.append(text)

    def body(self):
        """Past a block and the blocks in it."""
        self.expect("{")
        depth = 1
        while depth:
            token = self.next()
            if token == "the end":
                raise NotUnderstood("a function does not end")
            depth += (token == "{") - (token == "}")

    def arguments(self):
        """Those of a function, without their names where they have some."""
        self.expect("(")
        if self.tokens[self.at : self.at + 2] == ["void", ")"]:
            self.at += 2
            return ""
        out = []
        while True:
            text = self.type() + " " + self.stars()
            if self.tokens[self.at] not in (",", ")"):
                text += self.word()
            out.append(text.rstrip())
            if not self.skip(","):
                break
        self.expect(")")
        return ", ".join(out)

    def type(self):
        """A type that is known, const or not."""
        const = "const " if self.skip("const") else ""
        name = self.word()
        if name not in self.types:
            raise NotUnderstood(f"{name!r} is no type that is known, in: {self.near()}")
        return const + name

    def stars(self):
        """As many as are here."""
        count = 0
        while self.skip("*"):
            count += 1
        return "*" * count

    def whole_number(self):
        """A number, or the name of an enum's value."""
        token = self.next()
        if token.isdigit():
            return int(token)
        if token not in self.numbers:
            raise NotUnderstood(f"{token!r} is no number that is known")
        return self.numbers[token]


def declarations(cc, header):
    """The text of a Cython file with what the header declares.

    The last value of a named enum counts the others, and gives a dictionary its name: of ``typedef enum
    {TDF_SGD, TDF_ADAM, TDF_RULES} tdf_rule`` comes ``RULES = {"sgd": TDF_SGD, "adam": TDF_ADAM}``, in small
    letters and without what all names begin with.
    """
    found = Parser(preprocessed(cc, header))
    numbers = "int32_t, int64_t, uint8_t, uint32_t, uint64_t"
    out = ["# Made by src_c/declarations.py.", "", f"from libc.stdint cimport {numbers}", "", ""]
    out += [f'cdef extern from "{Path(header).name}" nogil:', *(f"    {line}" for line in found.lines), ""]
    for *names, count in found.enums.values():
        same = len(os.path.commonprefix(names).rpartition("_")[0]) + 1
        rows = [f'    "{name[same:].lower()}": {name},' for name in names]
        out += ["", f"{count.removeprefix('TDF_')} = {{", *rows, "}"]
    return "\n".join(out) + "\n"
