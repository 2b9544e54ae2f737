"""A callback that explains the same inputs after every evaluation, so that a training shows how evidence moves."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lignite.api.explain import explain
from lignite.errors import InputError, OptionError
from lignite.models.load import wrap
from lignite.views.tracking import check_tracker, log


class ExplainCallback(TrainerCallback):  # type: ignore[misc]  # transformers types it where torch is
    """A callback of transformers' Trainer explains the same inputs after every evaluation, into a tracker.

    The training goes on as it would without it: weights, modes and random numbers are left as they were.

    Parameters
    ----------
    inputs
        What `lignite.explain` takes: a text or several, the same at every evaluation.
    tracker
        As in `lignite.log`. By default TensorBoard's files in ``runs/lignite`` of the training's output folder.
    tokenizer
        By default the trainer's own (its `processing_class`).
    name
        What the entries begin with.
    **options
        Of `lignite.explain`: a `target` that stays the same at all steps makes curves that can be read;
        ``method="attnlrp"`` costs one backward pass each.
    """

    def __init__(
        self, inputs: Any, tracker: Any = None, *, tokenizer: Any = None, name: str = "lignite", **options: Any
    ) -> None:
        if isinstance(inputs, list | tuple) and not inputs:
            raise InputError("there is nothing to explain after an evaluation: give at least one input.")
        if tracker is not None:
            check_tracker(tracker)
        self.inputs, self.tokenizer, self.name, self.options = inputs, tokenizer, name, options
        self._tracker = tracker
        self._own: Any = None

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **around: Any) -> None:
        """Explain the inputs by the model as it is now, on the main process."""
        if not state.is_world_process_zero:
            return
        model = wrap(around["model"], self.tokenizer or around.get("processing_class"))
        found = explain(model, self.inputs, **self.options)
        log(found, self._tracker or self._begin(args), step=state.global_step, name=self.name)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the files that were opened here."""
        if self._own is not None:
            self._own.close()
            self._own = None

    def _begin(self, args: TrainingArguments) -> Any:
        if self._own is None:
            folder = str(Path(args.output_dir or ".") / "runs" / "lignite")
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise OptionError(
                    "without tracker= explanations go to TensorBoard's files, and tensorboard is not installed; "
                    "install it (pip install tensorboard), or give a tracker of your own."
                ) from error
            self._own = SummaryWriter(folder)
        return self._own
