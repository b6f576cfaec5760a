"""`curate train`."""

from typing import Annotated

from typer import Option

from curate.cli.expand import Only
from curate.cli.options import EngineOptions, ModelOptions, OutputOptions, PoolOptions, Seed
from curate.cli.terminal import console, print_json
from curate.cli.training_options import AllTrainingOptions as Training
from curate.wording import counted

TrainingEngine = Annotated[EngineOptions, Only("store", "device", "threads", "max_length", "trust_remote_code")]


def train(
    pool: PoolOptions, models: Annotated[ModelOptions, Only("model")], training: Training, engine: TrainingEngine,
    output: OutputOptions,
    epochs: Annotated[float | None, Option(help="passes over the rows (default 1)")] = None,
    steps: Annotated[int | None, Option(help="optimizer steps, instead of epochs")] = None,
    tokens: Annotated[int | None, Option(help="processed tokens, instead of epochs")] = None,
    save_checkpoints: Annotated[
        int | None, Option(min=0, help="models to keep on the way, at even distances, the last at the end")
    ] = None,
    save_optimizer: Annotated[bool, Option("--save-optimizer", help="keep adapters and optimizer state with each")] = False,
    checkpoint_steps: Annotated[
        int | None, Option(min=1, help="steps between two states; stopped, the same command goes on from the last")
    ] = None,
    seed: Seed = 0,
) -> None:  # fmt: skip
    """Fine-tune a model on a pool or a selection; the output is a folder that transformers loads."""
    output.check(*pool.files, models.model, engine.store)
    recipe = training.recipe(
        epochs=epochs, steps=steps, tokens=tokens, seed=seed,
        save_checkpoints=save_checkpoints, save_optimizer=save_optimizer, checkpoint_steps=checkpoint_steps,
    )  # fmt: skip
    account = engine.run(
        "train",
        pool=pool.read(engine, models.model, seed=seed),
        out=output.out,
        model=models.model,
        recipe=recipe,
        overwrite=output.overwrite,
    )
    from curate.training.folders import first_process

    if not first_process():
        return
    if output.as_json:
        return print_json({**account, "out": str(output.out)})
    from curate.wording import account_of

    said = "\n".join([account_of(account), *account["notes"]])
    chosen = account["token_policy"]
    console().print(
        f"{said}\n"
        f"trained on {counted(account['rows'])}, {account['tokens']:,} tokens ({account['loss_tokens']:,} in the loss"
        f"{'' if chosen == 'none' else f', chosen by {chosen}'}), "
        f"{account['epochs']:.2f} epochs, {counted(account['steps'], 'step')}, {account['seconds']:.0f} s\n"
        f"training loss of the first batch {account['first_loss']:.3f}, of the last {account['last_loss']:.3f} nats per token\n"
        f"written {output.out}", highlight=False, markup=False,
    )  # fmt: skip
