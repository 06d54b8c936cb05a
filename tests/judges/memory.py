#!/usr/bin/env python3
"""Searches every readable mapping of a process for byte strings.

    memory.py PID < NEEDLES        NEEDLES: one line of hexadecimal digits each

Prints {"bytes": searched, "found": [index of each needle that occurs], "libraries": [...]}. The
needles come by standard input so that the search finds them in PID only where PID put them.
"""
import json, sys

CHUNK = 1 << 22


def main(pid):
    needles = [bytes.fromhex(line.strip()) for line in sys.stdin if line.strip()]
    overlap = max(map(len, needles)) - 1
    searched, found, libraries = 0, set(), set()
    with open("/proc/%s/maps" % pid) as maps, open("/proc/%s/mem" % pid, "rb", 0) as memory:
        for line in maps:
            fields = line.split(None, 5)
            if len(fields) == 6 and ".so" in fields[5]:
                libraries.add(fields[5].strip().rsplit("/", 1)[1])
            if fields[1][0] != "r" or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(part, 16) for part in fields[0].split("-"))
            kept = b""
            while start < end:
                try:
                    memory.seek(start)
                    piece = memory.read(min(CHUNK, end - start))
                except OSError:
                    break  # unmapped meanwhile, or a mapping beyond the end of its file
                if not piece:
                    break
                data = kept + piece
                found.update(i for i, needle in enumerate(needles) if needle in data)
                kept = data[-overlap:]
                start += len(piece)
                searched += len(piece)
    print(json.dumps({"bytes": searched, "found": sorted(found), "libraries": sorted(libraries)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
