#!/usr/bin/env python3
"""An agent's terminal program, as far as notices are concerned. `agent.json` where it works has its settings:

  turn     0        seconds of a turn after each text that is submitted
  busy     "queue"  what comes while one runs: "queue" takes it all the same, "lose" does not read it
  hides    false    whether its input is away meanwhile
  shows    false    whether its footer says that a turn runs

As long as there is a file `ask` there, it shows a dialog. `agent.log` has what it took, one JSON a line, with the time
at which its first byte came."""
import json, os, select, time, tty

try:
    settings = json.load(open("agent.json"))
except OSError:
    settings = {}
turn, busy = settings.get("turn", 0), settings.get("busy", "queue")
hides, shows = settings.get("hides", False), settings.get("shows", False)
log = open("agent.log", "a")
said, text, until, pasting, asking, came = [], b"", 0.0, False, False, 0.0

def note(**what):
    log.write(json.dumps({"pid": os.getpid(), **what}) + "\n")
    log.flush()

def draw():
    rows = said[-20:] + [""]
    if asking:
        rows += ["Do you trust this folder?", "", "❯ 1. Yes", "  2. No", "", "Enter to confirm"]
    elif until and hides:
        rows += ["working"]
    else:
        rows += ["─" * 80, "❯ " + text.decode("utf-8", "replace")]
    out = "\x1b[2J\x1b[H" + "\r\n".join(rows)
    if not asking and not (until and hides):
        footer = "esc to interrupt" if until and shows else "? for shortcuts (shift+tab to cycle)"
        out += "\x1b7\r\n" + "─" * 80 + "\r\n  " + footer + "\x1b8"
    os.write(1, out.encode())

tty.setraw(0)
note(event="start")
os.write(1, b"\x1b[?2004h")
draw()
while True:
    ready, _, _ = select.select([0], [], [], 0.02)
    now = time.monotonic()
    if until and now >= until:
        until = 0.0
        if hides or shows:
            draw()
    if os.path.exists("ask") != asking:
        asking = not asking
        draw()
        note(event="asks" if asking else "goes on")
    if not ready:
        continue
    data = os.read(0, 65536)
    if not data:
        break
    if asking:
        note(event="key in a dialog", hex=data.hex())
        continue
    if until and busy == "lose":
        note(event="lost", hex=data[:40].hex())
        continue
    while data:
        if data.startswith(b"\x1b[200~") or data.startswith(b"\x1b[201~"):
            pasting, data = data.startswith(b"\x1b[200~"), data[6:]
        elif data[:1] == b"\r" and not pasting:
            line = text.decode("utf-8", "replace")
            note(event="took", text=line, came=came)
            said.append("> " + line)
            text, data, until = b"", data[1:], now + turn if turn else 0.0
        elif data[:1] == b"\x15":
            text, data = b"", data[1:]
        elif data[:1] == b"\x03" and not pasting:
            note(event="end")
            raise SystemExit(0)
        elif data[:1] == b"\x1b":
            note(event="escape")
            data = data[1:]
        else:
            came = came if text else time.time()
            text, data = text + data[:1], data[1:]
    draw()
