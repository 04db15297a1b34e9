"""`mjgrad train` and `mjgrad play`."""

import contextlib
import dataclasses
import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tqdm import tqdm

from mjgrad import run_log
from mjgrad import viewer
from mjgrad._src.errors import InvalidInput
from mjgrad.envs import TASKS
from mjgrad.envs import Env
from mjgrad.envs import make_task
from mjgrad.shac import PRESETS
from mjgrad.shac import Shac
from mjgrad.shac import ShacConfig
from mjgrad.shac.evaluate import Evaluation
from mjgrad.shac.evaluate import evaluate
from mjgrad.shac.evaluate import load_policy
from mjgrad.shac.plot import plot_learning_curve
from mjgrad.shac.train import train as train_loop

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
EVALUATION_WORLDS = 64
"""Episodes of the evaluation after training, all at once."""
EVALUATION_SEED = 1_000_000
"""Added to the run's seed, so that the evaluation starts from states not seen in training."""


@dataclasses.dataclass(frozen=True)
class TrainOptions:
  """Options of `mjgrad train TASK`."""

  shac: Annotated[ShacConfig, tyro.conf.arg(name="")]
  """Settings of the learner; their defaults depend on the task."""
  seed: int = 0
  """Seed of networks, exploration and start states."""
  run_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
  """New folder for everything the run writes; by default runs/TASK_DATE_TIME_seedSEED."""
  device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
  """Where to simulate and learn, for example cpu or cuda:0; by default a GPU if there is one."""
  threads: int = 1
  """PyTorch threads on the CPU; the networks are too small for more to help."""
  save_every: int = 25
  """Epochs between checkpoints."""
  video: bool = True
  """Draw a GIF of the final policy."""


@dataclasses.dataclass(frozen=True)
class ResumeOptions:
  """Options of `mjgrad train --resume RUN`."""

  resume: Annotated[Path, tyro.conf.arg(metavar="RUN")]
  """Run folder, to continue from its newest checkpoint, or one of its checkpoint files."""
  device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
  """Where to simulate and learn; by default a GPU if there is one."""
  threads: int = 1
  """PyTorch threads on the CPU; another number than before changes rounding."""
  save_every: int = 25
  """Epochs between checkpoints."""
  video: bool = True
  """Draw a GIF of the final policy."""


@dataclasses.dataclass(frozen=True)
class PlayOptions:
  """Options of `mjgrad play RUN`."""

  seed: int = 0
  """Seed of the start state."""
  out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
  """GIF to write; by default play.gif in the run folder."""
  viewer: bool = False
  """Open MuJoCo's viewer instead of writing a GIF; needs a display."""
  device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
  """Where to simulate; by default a GPU if there is one."""


def train(argv: list[str]) -> int:
  """`mjgrad train TASK [options]` and `mjgrad train --resume RUN`; returns the exit code."""
  name, arguments = _split(argv)
  if any(a == "--resume" or a.startswith("--resume=") for a in arguments):
    log, learner, elapsed, options = _resumed(name, arguments)
    _note(f"continuing {log.folder} at epoch {learner.epoch} of {learner.config.epochs}")
  else:
    log, learner, options = _new(name, arguments)
    elapsed = 0.0
    _note(f"writing to {log.folder}")
  with _progress_bar(learner) as on_epoch:
    finished = train_loop(
      learner, log, elapsed=elapsed, save_every=options.save_every, on_epoch=on_epoch
    )
  if not finished:
    _note(
      f"stopped after epoch {learner.epoch} and saved;"
      f" continue with: mjgrad train --resume {log.folder}"
    )
    return INTERRUPTED
  _report(learner, log, options.video)
  return 0


def play(argv: list[str]) -> int:
  """`mjgrad play RUN [options]`; returns the exit code."""
  run, arguments = _split(argv)
  options = tyro.cli(
    PlayOptions,
    args=arguments,
    prog="mjgrad play RUN",
    description="Replay a learned policy: one episode as a GIF, or in MuJoCo's viewer."
    " RUN is a run folder of mjgrad train, or one of its checkpoint files.",
  )
  if run is None:
    raise InvalidInput("name a run first: mjgrad play RUN [options]")
  _prepare(threads=1)
  log, checkpoint = _open(Path(run))
  task = make_task(log.record["task"])
  path = options.out or log.folder / "play.gif"
  if path.suffix.lower() != ".gif":
    raise InvalidInput(f"--out {path}: only GIF files can be written; end the name in .gif")
  if not path.parent.is_dir():
    raise InvalidInput(f"--out {path}: there is no folder {path.parent}")
  env = Env(task, 1, seed=options.seed, device=options.device)
  policy = load_policy(task, _settings(log.record), checkpoint["learner"], env.device)
  result = evaluate(env, policy)
  mjm = task.load_model()
  dt = task.nstep * mjm.opt.timestep
  summary = f"{task.name}: return {result.episode_return[0]:.1f} in {int(result.length[0])} steps"
  if options.viewer:
    print(summary)
    viewer.watch(mjm, result.qpos[:, 0], dt)
    return 0
  renderer = viewer.save_gif(mjm, result.qpos[:, 0], dt, path)
  print(f"{summary}; {path} (drawn by {renderer})")
  return 0


def _new(name: str | None, arguments: list[str]) -> tuple[run_log.RunLog, Shac, TrainOptions]:
  """A new run of a task."""
  tasks = ", ".join(sorted(TASKS))
  wants_help = "-h" in arguments or "--help" in arguments
  if name is None and not wants_help:
    raise InvalidInput(f"name a task first: mjgrad train TASK [options]; the tasks are: {tasks}")
  name = name or "cartpole"
  make_task(name)
  options = tyro.cli(
    TrainOptions,
    args=arguments,
    default=TrainOptions(PRESETS[name]),
    prog="mjgrad train TASK",
    description=f"Learn a policy for a task with SHAC, then evaluate, plot and film it."
    f" Tasks: {tasks}; the defaults below are those of {name}."
    f" 'mjgrad train --resume RUN' continues a run that was interrupted or killed.",
  )
  folder = options.run_dir or _default_folder(name, options.seed)
  run_log.require_new(folder)
  learner = _learner(name, options.shac, options.seed, options)
  record = {
    "task": name,
    "seed": options.seed,
    "config": dataclasses.asdict(options.shac),
    "device": str(learner.env.device),
  }
  return run_log.create_run(folder, record), learner, options


def _resumed(
  name: str | None, arguments: list[str]
) -> tuple[run_log.RunLog, Shac, float, ResumeOptions]:
  """A run as its checkpoint left it, and the seconds spent on it."""
  options = tyro.cli(
    ResumeOptions,
    args=arguments,
    prog="mjgrad train",
    description="Continue a run that was interrupted or killed, with the settings it began with.",
  )
  log, checkpoint = _open(options.resume)
  task = log.record["task"]
  if name not in (None, task):
    raise InvalidInput(f"{options.resume} is a run of {task}, not of {name}")
  learner = _learner(task, _settings(log.record), log.record["seed"], options)
  learner.load_state_dict(checkpoint["learner"])
  return log, learner, checkpoint["elapsed"], options


def _learner(
  task: str, config: ShacConfig, seed: int, options: TrainOptions | ResumeOptions
) -> Shac:
  if options.threads < 1:
    raise InvalidInput(f"--threads is {options.threads}; it must be at least 1")
  _prepare(options.threads)
  _note(f"building the simulator of {task}; its kernels are compiled once, which takes a minute")
  env = Env(make_task(task), config.num_worlds, seed=seed, device=options.device)
  return Shac(env, config, seed)


def _split(argv: list[str]) -> tuple[str | None, list[str]]:
  """The argument that comes before all options, if there is one, and the rest."""
  if argv and not argv[0].startswith("-"):
    return argv[0], argv[1:]
  return None, argv


def _prepare(threads: int) -> None:
  """Sets the number of PyTorch threads and keeps Warp from announcing every kernel it loads."""
  import torch
  import warp as wp

  torch.set_num_threads(threads)
  wp.config.log_level = wp.LOG_WARNING


def _open(path: Path) -> tuple[run_log.RunLog, dict[str, Any]]:
  """The run and the checkpoint that a run folder or a checkpoint file stands for."""
  if not path.exists():
    raise InvalidInput(f"there is no run folder or checkpoint {path}")
  if path.is_file():
    log, file = run_log.open_run(path.resolve().parent.parent), path
  else:
    log = run_log.open_run(path)
    files = log.checkpoints()
    if not files:
      raise InvalidInput(f"{path} has no checkpoint in it")
    file = files[-1]
  checkpoint = run_log.load_checkpoint(file)
  for name in ("task", "seed", "config"):
    ours, theirs = log.record.get(name), _plain(checkpoint.get(name))
    if theirs != ours:
      raise InvalidInput(
        f"checkpoint {file} does not belong to this run: its {name} is {theirs}, not {ours}"
      )
  return log, checkpoint


def _settings(record: dict[str, Any]) -> ShacConfig:
  """The learner's settings in run.json."""
  values = record["config"]
  values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
  try:
    return ShacConfig(**values)
  except TypeError as error:
    raise InvalidInput(f"run.json was written by another version of mjgrad: {error}") from error


def _plain(value: Any) -> Any:
  """The value as JSON returns it: lists in place of tuples."""
  if isinstance(value, dict):
    return {name: _plain(v) for name, v in value.items()}
  return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _default_folder(task: str, seed: int) -> Path:
  now = datetime.datetime.now().strftime("%Y%m%d_%H%M%S")
  return Path("runs") / f"{task}_{now}_seed{seed}"


@contextlib.contextmanager
def _progress_bar(learner: Shac) -> Iterator[Any]:
  """Yields a function that shows the metrics of an epoch."""
  epochs = learner.config.epochs
  with tqdm(
    total=epochs, initial=learner.epoch, desc=learner.env.task.name, unit="epoch", smoothing=0.1
  ) as bar:

    def on_epoch(metrics: dict[str, float]) -> None:
      known = np.isfinite(metrics["return"])
      bar.set_postfix_str(f"return {metrics['return']:.1f}" if known else "return -", refresh=False)
      bar.update(1)

    yield on_epoch


def _report(learner: Shac, log: run_log.RunLog, video: bool) -> None:
  """Evaluates the final policy, and writes evaluation, plot and film into the run folder."""
  task = learner.env.task
  result = _final_evaluation(learner, log.record["seed"])
  log.save_json("evaluation", result.metrics)
  rows = log.read_metrics()
  plot_learning_curve(
    rows,
    f"SHAC on {task.name}, seed {log.record['seed']}",
    log.folder / "learning_curve.png",
    result.metrics["return"],
  )
  if video:
    mjm = task.load_model()
    length = int(result.length[0])
    viewer.save_gif(
      mjm, result.qpos[: length + 1, 0], task.nstep * mjm.opt.timestep, log.folder / "policy.gif"
    )
  merits = ", ".join(f"{name} {value:.3g}" for name, value in result.metrics.items())
  print(f"{task.name}: {merits}; {rows[-1]['seconds']:.0f} s of training; {log.folder}")


def _final_evaluation(learner: Shac, seed: int) -> Evaluation:
  device = learner.env.device
  env = Env(learner.env.task, EVALUATION_WORLDS, seed=EVALUATION_SEED + seed, device=str(device))
  return evaluate(env, learner.policy)


def _note(text: str) -> None:
  """Says on standard error what is going on."""
  print(text, file=sys.stderr)
