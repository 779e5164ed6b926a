"""Which label a model gives to a prompt: the one whose tokens, EOS included, are the most likely after it. Exact, and cheap.

The prompt runs once and leaves its keys and values. The labels form a tree of tokens; a node's likelihood bounds everything
below it, so the tree is opened best first, and what cannot win any more is never computed. All prompts of a batch take part in
each pass, and the opened nodes stand side by side in one row: an attention mask lets each see the prompt and its own ancestors.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import DynamicCache

from temper_trainer.failures import TrainerFailure

# Nodes that a prompt may open in its first pass; doubled in each further one, since an undecided model needs many.
FIRST_PASS_NODES = 4
NODES_PER_PASS_LIMIT = 64
# Logits of one pass, in numbers (4 bytes each): nodes × prompts × vocabulary stay near it.
LOGITS_LIMIT = 1 << 27


@dataclass
class Node:
    """A token on the way to one or more labels. `label`: the place in the list of the label that ends here (at its EOS)."""

    token: int
    depth: int
    parent: int
    children: list[int] = field(default_factory=list)
    label: int | None = None


class LabelTree:
    """The labels' token sequences as one tree; node 0 is the end of the prompt."""

    def __init__(self, sequences: list[list[int]]):
        self.nodes = [Node(-1, 0, -1)]
        self.paths: list[list[int]] = []
        for label, tokens in enumerate(sequences):
            at, path = 0, []
            for token in tokens:
                at = self.child(at, token)
                path.append(at)
            if self.nodes[at].label is not None:
                raise TrainerFailure('SPEC_INVALID', f'labels: entries {self.nodes[at].label + 1} and {label + 1} have the same tokens.')
            self.nodes[at].label = label
            self.paths.append(path)

    def child(self, at: int, token: int) -> int:
        for child in self.nodes[at].children:
            if self.nodes[child].token == token:
                return child
        self.nodes.append(Node(token, self.nodes[at].depth + 1, at))
        self.nodes[at].children.append(len(self.nodes) - 1)
        return len(self.nodes) - 1

    def chain(self, at: int) -> list[int]:
        """The node and what follows while there is no choice: worth computing together. Without the leaf, behind which nothing comes."""
        chain = [at]
        while len(self.nodes[chain[-1]].children) == 1:
            chain.append(self.nodes[chain[-1]].children[0])
        return chain if self.nodes[chain[-1]].label is None else chain[:-1]


@dataclass
class Verdict:
    label: int  # place in the list
    log_likelihood: float  # of that label
    expected_log_likelihood: float  # of the label that was expected


class Search:
    """The state of one prompt: likelihoods of the nodes reached, and where the opened ones stand in the cache."""

    def __init__(self, tree: LabelTree, expected: int):
        self.tree = tree
        self.expected = expected
        self.score = {0: 0.0}
        self.place: dict[int, int] = {}
        self.opened: set[int] = set()

    def accept(self, node: int, log_probabilities: np.ndarray) -> None:
        """Takes the likelihoods of the children of an opened node, in the tree's order."""
        self.opened.add(node)
        for child, value in zip(self.tree.nodes[node].children, log_probabilities, strict=True):
            self.score[child] = self.score[node] + float(value)

    def wanted(self, count: int) -> list[int]:
        """Nodes to open next: the rest of the expected label's path, then the best that can still beat the best label found."""
        nodes = self.tree.nodes
        found = max((self.score[path[-1]] for path in self.tree.paths if path[-1] in self.score), default=-np.inf)
        open_ends = [node for node in self.score if node not in self.opened and nodes[node].label is None]
        chosen = [node for node in open_ends if node in self.tree.paths[self.expected]]
        rivals = sorted((node for node in open_ends if self.score[node] > found and node not in chosen), key=lambda node: -self.score[node])
        # The favourite is followed while there is no choice; the others may be out of the race after one token.
        followed = [step for node in chosen + rivals[:1] for step in self.tree.chain(node)]
        return followed + rivals[1:count]

    def verdict(self) -> Verdict:
        scores = {label: self.score[path[-1]] for label, path in enumerate(self.tree.paths) if path[-1] in self.score}
        best = max(scores, key=lambda label: (scores[label], -label))
        return Verdict(best, scores[best], scores[self.expected])


@torch.inference_mode()
def classify(model, prompts: list[list[int]], expected: list[int], tree: LabelTree, pad: int) -> list[Verdict]:
    """A verdict for each prompt of one batch. `prompts` are token IDs, `expected` places in the list of labels."""
    device = next(model.parameters()).device
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
    seen = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    # A plain cache even for models with a sliding window: TreeMask keeps to the window, and places must not move.
    cache = DynamicCache()
    logits = model(
        input_ids=ids, attention_mask=seen, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
    ).logits
    searches = [Search(tree, label) for label in expected]
    take_children(searches, [[0]] * len(searches), logits, tree)
    mask = TreeMask(seen, getattr(model.config, 'sliding_window', None), logits.dtype)
    most = max(1, min(NODES_PER_PASS_LIMIT, LOGITS_LIMIT // (len(prompts) * logits.shape[-1])))
    count = min(FIRST_PASS_NODES, most)
    while True:
        batch = [search.wanted(count) for search in searches]
        width = max(map(len, batch))
        if width == 0:
            return [search.verdict() for search in searches]
        row_ids = torch.full((len(prompts), width), pad, device=device)
        for row, nodes in enumerate(batch):
            for column, node in enumerate(nodes):
                row_ids[row, column] = tree.nodes[node].token
        attention, row_positions = mask.extend(searches, batch, width)
        logits = model(
            input_ids=row_ids, attention_mask=attention, position_ids=row_positions, past_key_values=cache, use_cache=True
        ).logits
        take_children(searches, batch, logits, tree)
        count = min(2 * count, most)


def take_children(searches: list[Search], batch: list[list[int]], logits: torch.Tensor, tree: LabelTree) -> None:
    """Gives each search the log-probabilities of the children of the nodes it opened; `logits` are (prompts, nodes, vocabulary)."""
    rows, columns, opened, owners, tokens = [], [], [], [], []
    for row, nodes in enumerate(batch):
        for column, node in enumerate(nodes):
            children = [tree.nodes[child].token for child in tree.nodes[node].children]
            owners += [len(opened)] * len(children)
            tokens += children
            rows.append(row)
            columns.append(column)
            opened.append((searches[row], node, len(children)))
    of_nodes = logits[rows, columns].float()
    values = (of_nodes[owners, tokens] - of_nodes.logsumexp(-1)[owners]).cpu().numpy()
    start = 0
    for search, node, count in opened:
        search.accept(node, values[start : start + count])
        start += count


class TreeMask:
    """Who sees whom: every opened node its prompt, its ancestors and itself. Additive, shape (prompts, 1, new nodes, cache)."""

    def __init__(self, seen: torch.Tensor, window: int | None, dtype: torch.dtype):
        self.prompt_seen = seen.bool()
        self.lengths = seen.sum(1)
        self.window = window
        self.dtype = dtype
        self.width = seen.shape[1]

    def extend(self, searches: list[Search], batch: list[list[int]], width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mask and positions for a pass over `batch`, and the nodes' places in the cache from then on."""
        device = self.prompt_seen.device
        prompts, prompt_width = self.prompt_seen.shape
        allowed = torch.zeros(prompts, width, self.width + width, dtype=torch.bool)
        depths = torch.ones(prompts, width, dtype=torch.long)
        for row, (search, nodes) in enumerate(zip(searches, batch, strict=True)):
            for column, node in enumerate(nodes):
                search.place[node] = self.width + column
            for column, node in enumerate(nodes):
                depths[row, column] = search.tree.nodes[node].depth
                at = node
                while at != 0:
                    allowed[row, column, search.place[at]] = True
                    at = search.tree.nodes[at].parent
            for column in range(len(nodes), width):
                allowed[row, column, self.width + column] = True  # padding sees itself: a row of nothing would be NaN
        positions = self.lengths[:, None] - 1 + depths.to(device)
        allowed = allowed.to(device)
        prompt = self.prompt_seen[:, None, :].expand(-1, width, -1)
        if self.window is not None:
            prompt_positions = (self.prompt_seen.cumsum(1) - 1)[:, None, :]
            prompt = prompt & (prompt_positions > positions[:, :, None] - self.window)
        allowed[:, :, :prompt_width] = prompt
        self.width += width
        mask = torch.zeros(allowed.shape, dtype=self.dtype, device=device)
        return mask.masked_fill(~allowed, torch.finfo(self.dtype).min)[:, None], positions
