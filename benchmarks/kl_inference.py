"""The inference of section 5.4 by Newton's method and by the paper's gradient descent.

    .venv/bin/python benchmarks/kl_inference.py [--images 10000] [--n 1] [--threads 1]

Prints a Markdown table of seconds per 10,000 images, measured in this call; asserts nothing.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from distillation.core.store import Store
from distillation.specialists.inference_time import InferenceTime


def main() -> None:
    """Measure the three methods in this process, in turn, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="images that are treated at once")
    parser.add_argument("--n", type=int, default=1, help="the generalist's top classes that make a specialist active")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    config = InferenceTime(images=options.images, n=options.n, threads=options.threads)
    torch.set_num_threads(config.threads)
    metrics = config.run(Store(Path("unused")))["metrics"]
    print(
        f"{config.images} images, {config.classes} classes, {config.specialists} specialists of {config.size}, "
        f"{metrics['active_mean']:.1f} active\n"
    )
    print(table(metrics["methods"], config.images).to_markdown(index=False, disable_numparse=True))


def table(methods: list[dict], images: int) -> pd.DataFrame:
    """One row per method; ratios to the first."""
    return pd.DataFrame(
        {
            "method": row["method"] + (f" ({row['images_timed']} timed)" if row["images_timed"] < images else ""),
            "s per 10,000 images": f"{row['seconds'] * 10_000 / images:.2f}",
            "ratio": f"{row['seconds'] / methods[0]['seconds']:.0f}",
            "nats above the optimum": f"{row['excess']:.0e}",
            "at most": f"{row['largest_excess']:.0e}",
        }
        for row in methods
    )


if __name__ == "__main__":
    main()
