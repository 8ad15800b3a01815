"""The 50 tasks of Meta-World v3 and one English instruction for each.

From: the benchmark's task list (`metaworld.env_dict.ENV_CLS_MAP`, names without the `-v3` ending).
To: `instruction` on the wire, and the prompts of training. Instructions are lower case, as in SpatialVLA's training.
"""

INSTRUCTIONS = {
    "assembly": "put the ring on the peg",
    "basketball": "put the ball into the basket",
    "bin-picking": "move the puck from one bin to the other",
    "box-close": "put the lid on the box",
    "button-press": "press the button",
    "button-press-topdown": "press the button from the top",
    "button-press-topdown-wall": "press the button behind the wall from the top",
    "button-press-wall": "press the button behind the wall",
    "coffee-button": "press the button of the coffee machine",
    "coffee-pull": "pull the mug away from the coffee machine",
    "coffee-push": "push the mug under the coffee machine",
    "dial-turn": "turn the dial",
    "disassemble": "take the ring off the peg",
    "door-close": "close the door",
    "door-lock": "lock the door",
    "door-open": "open the door",
    "door-unlock": "unlock the door",
    "drawer-close": "close the drawer",
    "drawer-open": "open the drawer",
    "faucet-close": "close the faucet",
    "faucet-open": "open the faucet",
    "hammer": "hammer the nail into the block",
    "hand-insert": "move the block into the hole with the gripper",
    "handle-press": "press the handle down",
    "handle-press-side": "press the handle down from the side",
    "handle-pull": "pull the handle up",
    "handle-pull-side": "pull the handle up from the side",
    "lever-pull": "pull the lever up",
    "peg-insert-side": "insert the peg into the hole from the side",
    "peg-unplug-side": "pull the peg out of the hole",
    "pick-out-of-hole": "pick the puck out of the hole",
    "pick-place": "pick up the puck and bring it to the goal",
    "pick-place-wall": "bring the puck over the wall to the goal",
    "plate-slide": "slide the plate into the cabinet",
    "plate-slide-back": "slide the plate out of the cabinet",
    "plate-slide-back-side": "slide the plate out of the cabinet sideways",
    "plate-slide-side": "slide the plate into the cabinet sideways",
    "push": "push the puck to the goal",
    "push-back": "pull the puck back to the goal",
    "push-wall": "push the puck around the wall to the goal",
    "reach": "reach the goal",
    "reach-wall": "reach the goal behind the wall",
    "shelf-place": "put the block on the shelf",
    "soccer": "kick the ball into the goal",
    "stick-pull": "pull the box with the stick",
    "stick-push": "push the box with the stick",
    "sweep": "sweep the block off the table",
    "sweep-into": "sweep the block into the hole",
    "window-close": "close the window",
    "window-open": "open the window",
}


class UnknownTask(ValueError):
    """A task name that the benchmark does not have."""

    def __init__(self, task: str) -> None:
        super().__init__(f"no task {task!r}; use one of {', '.join(INSTRUCTIONS)}")


def task_names() -> tuple[str, ...]:
    """All tasks, in alphabetical order."""
    return tuple(INSTRUCTIONS)


def instruction(task: str) -> str:
    """What the policy is told for `task`."""
    if task not in INSTRUCTIONS:
        raise UnknownTask(task)
    return INSTRUCTIONS[task]
