"""Whether a trained reward model helps an agent: play every arm, keep the rows, print the tables.

python benches/uplift play --arms all --tasks train,held-out --seeds 3030-3049 \
    --models mini-s0=runs/int8-s0 mini-s1=runs/int8-s1 --shuffled runs/shuffled-s0/model \
    --out runs/uplift
python benches/uplift pack --out runs/uplift
python benches/uplift table

`play` goes on where it was stopped. `docs/uplift.md` says what the arms are and what is shown.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # the modules are `uplift.*`, whoever imports them

from uplift.command import main  # noqa: E402  # the path comes first

if __name__ == "__main__":
    sys.exit(main())
