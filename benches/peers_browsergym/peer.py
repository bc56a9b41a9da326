"""BrowserGym's side: a task and a seed a line on stdin, what they took a line on stdout."""

import json
import sys
from importlib.metadata import version

from browsergym_env import BrowserGymMiniWob
from measure import measure


def main() -> None:
    pages, chromium, settings = sys.argv[1:]
    env = BrowserGymMiniWob(pages, chromium)
    packages = ("browsergym-core", "browsergym-miniwob", "playwright")
    told = {name: version(name) for name in packages} | {"chromium": env.chromium}
    print(json.dumps(told), flush=True)
    for line in sys.stdin:
        task, seed = json.loads(line)
        print(json.dumps(measure(env, task, seed=seed, settings=json.loads(settings))), flush=True)
    env.close()


if __name__ == "__main__":
    main()
