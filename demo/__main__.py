"""`python -m demo`: runs the story; `--keep-running` leaves it running, `--stop` ends what was left running."""

import argparse
import sys
import time
from pathlib import Path

from demo import console
from demo.processes import ProcessError, Services, free_port, stop_left_running
from demo.story import Story, StoryError
from tastemaker_client import TastemakerError

_ROOT = Path(__file__).resolve().parent.parent
_FRONT_PORT, _MODELSERVER_PORT = 50051, 8500


def main() -> int:
    """Returns the exit status: 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="The whole loop, on one machine.")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with ml-100k/ (default: found or fetched)")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", default=_ROOT, help="where models/ and var/ go (default: this project's)"
    )
    parser.add_argument(
        "--epochs", metavar="N", help="train for N epochs at most (default: until it stops getting better)"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--keep-running", action="store_true", help="leave the front and the model server running")
    mode.add_argument("--stop", action="store_true", help="end what --keep-running left running, and nothing else")
    options = parser.parse_args()
    root = options.folder.resolve()
    folder = root / "var" / ("up" if options.keep_running or options.stop else "demo")
    if options.stop:
        return _stop(folder)

    started = time.monotonic()
    if options.keep_running:
        stop_left_running(folder)
        ports = {"front_port": _FRONT_PORT, "modelserver_port": _MODELSERVER_PORT}
    else:
        ports = {"front_port": free_port(), "modelserver_port": free_port()}
    services = Services(folder=folder, models_dir=root / "models", **ports)
    is_left_running = False
    try:
        story = Story(services=services, data_dir=options.data_dir, epochs=options.epochs, root=Path.cwd())
        story.run()
        if not options.keep_running:
            console.step(6, "End", "health turns NOT_SERVING, calls in flight finish, then the front ends")
            services.stop()
            console.say("✓ every process has ended")
        else:
            services.restart_modelserver()
            services.leave_running()
            is_left_running = True
            story.show_what_to_try()
    except (ProcessError, StoryError, TastemakerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        if not is_left_running:
            services.stop()
    console.say(f"the whole loop took {time.monotonic() - started:.0f} s")
    return 0


def _stop(folder: Path) -> int:
    ended = stop_left_running(folder)
    print("ended: " + ", ".join(ended) if ended else "nothing was left running")
    return 0


if __name__ == "__main__":
    sys.exit(main())
