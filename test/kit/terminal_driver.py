"""A terminal for tests: runs a program on a pty, plays a script of steps, and reports as JSON.

    python3 terminal_driver.py STEPS PROGRAM ARGS...

STEPS is a JSON array. A step is one of
    {"expect": TEXT}    wait until the program has printed TEXT (after what was expected before)
    {"send": TEXT}      type TEXT
    {"signal": NUMBER}  send the program a signal
    {"mode": "raw"}     wait until the terminal is raw; "cooked": until it is as it was at first
The report is {"output", "code", "restored"}: all that was printed, the exit status (negative for a
signal), and whether the terminal's settings are as they were. Every wait ends after LIMIT_S.
"""

import json
import os
import pty
import select
import sys
import termios
import time

LIMIT_S = 20


class Late(Exception):
    pass


def main():
    steps, program = json.loads(sys.argv[1]), sys.argv[2:]
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    child = os.fork()
    if child == 0:
        os.close(master)
        os.login_tty(slave) if hasattr(os, "login_tty") else login(slave)
        os.execvp(program[0], program)
    output, seen, problem = bytearray(), 0, None
    try:
        for step in steps:
            seen = play(step, master, slave, child, before, output, seen)
    except Late as late:
        problem = str(late)
        os.kill(child, 9)
    code = drain(master, child, output)
    report = {
        "output": output.decode("utf-8", "replace"),
        "code": code,
        "restored": termios.tcgetattr(slave) == before,
        "problem": problem,
    }
    json.dump(report, sys.stdout)


def login(slave):
    os.setsid()
    for number in range(3):
        os.dup2(slave, number)
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def play(step, master, slave, child, before, output, seen):
    if "send" in step:
        os.write(master, step["send"].encode("latin-1"))
        return seen
    if "signal" in step:
        os.kill(child, step["signal"])
        return seen
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        read(master, output, 0.02)
        if "mode" in step:
            raw = not termios.tcgetattr(slave)[3] & termios.ICANON
            if raw == (step["mode"] == "raw"):
                return seen
        else:
            wanted = step["expect"].encode()
            at = output.find(wanted, seen)
            if at >= 0:
                return at + len(wanted)
    raise Late("no %s within %d s" % (json.dumps(step), LIMIT_S))


def read(master, output, wait_s):
    ready, _, _ = select.select([master], [], [], wait_s)
    if ready:
        output.extend(os.read(master, 65536))
    return bool(ready)


def drain(master, child, output):
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        read(master, output, 0.02)
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid != 0:
            while read(master, output, 0):
                pass
            return os.waitstatus_to_exitcode(status)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


main()
