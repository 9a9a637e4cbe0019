"""Write the weights and the teachers' outputs that others can take away: `python -m distillation.commands.models`.

As far as they lie on this disk.  With a profile's name, those of that profile, not of `paper`; with numbers of
notebooks after it, only of these notebooks' wings.
"""

import sys
from importlib import import_module
from types import ModuleType

from distillation.commands.entry import command
from distillation.commands.train import WINGS
from distillation.core.store import Configuration, write_safetensors
from distillation.core.sweep import Results

OUTPUTS = ("train_logits", "scored_logits")


def publish_models(wing: ModuleType, results: Results) -> list[str]:
    """Write what lies on this disk of a wing's headline nets and teachers; return the names.  wing: its `examples`."""
    nets, teachers = wing.published_nets(results), wing.published_outputs(results)
    nets = {name: net for name, net in nets.items() if results.store.tensors_path(net).exists()}
    publish_weights(results, nets)
    teachers = [net for net in teachers if results.store.tensors_path(net).exists()]
    for teacher in teachers:
        publish_outputs(results, teacher)
    return [*nets, *map(results.store.name, teachers)]


def publish_weights(results: Results, nets: dict[str, Configuration]) -> None:
    """Write the weights of nets, in half precision, as results/<profile>/models/<name>.safetensors."""
    for name, config in nets.items():
        tensors = results.store.tensors(config)
        weights = {key: value.half() for key, value in tensors.items() if key.endswith(("weight", "bias"))}
        record = {"record": results.store.path(config).name}
        write_safetensors(weights, results.folder / "models" / f"{name}.safetensors", record)


def publish_outputs(results: Results, teacher: Configuration) -> None:
    """Write a teacher's outputs, without its weights, where the store finds them: students need no more."""
    tensors = results.store.tensors(teacher)
    record = {"record": results.store.path(teacher).name}
    write_safetensors({name: tensors[name] for name in OUTPUTS}, results.store.published_path(teacher), record)


@command
def main() -> int:
    """Write what there is of each wing, and say what it was; return the exit status."""
    profile, *numbers = sys.argv[1:] or ["paper"]
    for name in dict.fromkeys(wing for number, wing in WINGS.items() if not numbers or number in numbers):
        results, examples = (import_module(f"distillation.{name}.{room}") for room in ("results", "examples"))
        written = publish_models(examples, results.results(profile))
        print(f"{name}: {', '.join(written) or 'nothing of it lies here'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
