"""A full-screen program for tests: an input on its screen, and what real ones do besides.

What it does stands in rules.json where it works; what it received goes to received.jsonl there, one JSON a line.

    dialog    lines shown in place of the input until a key comes; which one is noted
    on_paste  the same, once something was pasted
    deaf      seconds before it reads anything; its input is on the screen meanwhile
    swallow   an Enter that comes in one read with other bytes is part of the text
    stubborn  every Enter is
    plain     it does not ask to be told what is pasted
    blank     it shows nothing until there is a file `go`
    turn      seconds of work after each Enter, which its screen shows; what is read then is lost
    footer    the line below its input
"""

import json
import os
import select
import sys
import termios
import time
import tty

with open("rules.json") as file:
    RULES = json.load(file)
received = open("received.jsonl", "a", buffering=1)
dialog = RULES.get("dialog", [])
said, text, pasting, works_until = [], "", False, 0.0


def note(**what):
    received.write(json.dumps(what) + "\n")


def draw():
    lines = list(said)
    if time.monotonic() < works_until:
        lines.append("* working (esc to interrupt)")
    if RULES.get("blank") and not os.path.exists("go"):
        lines = []
    elif dialog:
        lines += dialog
    else:
        lines += ["-" * 40, "> " + text.replace("\n", "\n  ")]
    rows = "\n".join(lines).split("\n")
    below = [] if dialog or not rows[0] else ["-" * 40, RULES.get("footer", "(shift+tab to cycle)")]
    shown = "\r\n".join(rows + below)
    os.write(1, f"\x1b[2J\x1b[H{shown}\x1b[{len(rows)};{len(rows[-1]) + 1}H".encode())


def take(data):
    """Handles the beginning of what was read, and answers the rest."""
    global dialog, text, pasting, works_until
    if dialog:
        note(dialog=data[:1].hex())
        dialog = []
    elif data.startswith(b"\x1b[200~"):
        pasting = True
        return data[6:]
    elif data.startswith(b"\x1b[201~"):
        pasting = False
        dialog = RULES.get("on_paste", [])
        return data[6:]
    elif data[:1] == b"\r" and not pasting and not RULES.get("stubborn") and not (RULES.get("swallow") and not alone):
        note(submit=text)
        said.append("you said " + text)
        text = ""
        works_until = time.monotonic() + RULES.get("turn", 0)
    elif data[:1] == b"\x15" and not pasting:
        text = text[: text.rfind("\n") + 1] if not text.endswith("\n") else text[:-1]
        note(left=text)
    elif data[:1] == b"\x1b" and not pasting:
        note(key="escape")
    else:
        # All that was pasted here is in one byte a character.
        text += "\n" if data[:1] == b"\r" else chr(data[0])
    return data[1:]


tty.setraw(0, termios.TCSANOW)
if not RULES.get("plain"):
    os.write(1, b"\x1b[?2004h")
draw()
time.sleep(RULES.get("deaf", 0))
while True:
    ready, _, _ = select.select([0], [], [], 0.05)
    if ready:
        data = os.read(0, 65536)
        if not data:
            sys.exit()
        if time.monotonic() < works_until:
            note(lost=len(data))
            continue
        alone = len(data) == 1
        while data:
            data = take(data)
        draw()
    elif RULES.get("blank") and os.path.exists("go"):
        RULES["blank"] = False
        draw()
    elif works_until and time.monotonic() >= works_until:
        works_until = 0.0
        draw()
