"""The loss of trained tokens without their logits: the output layer runs on a few rows at a time, and what is kept of each is the
gradient of its hidden state. The layer is frozen, so nothing else of it is needed, and no logit is computed twice."""

import torch
from peft import PeftModel

# Rows of logits that exist at once. Of a vocabulary of 128,000 they take 1.3 GB, whatever the length of a pack.
ROWS = 1024


class FrozenHeadLoss(torch.autograd.Function):
    """`hidden` (rows, size), `weight` (vocabulary, size), `bias` or None, `targets` (rows,): losses (rows,), float32."""

    @staticmethod
    def forward(context, hidden, weight, bias, targets):
        wants_gradient = hidden.requires_grad
        hidden = hidden.detach()
        losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden) if wants_gradient else None
        for start in range(0, len(targets), ROWS):
            rows = slice(start, start + ROWS)
            logits = torch.nn.functional.linear(hidden[rows].to(weight.dtype), weight, bias).float()
            log_probabilities = torch.log_softmax(logits, -1)
            losses[rows] = -log_probabilities.gather(1, targets[rows, None])[:, 0]
            if wants_gradient:
                probabilities = log_probabilities.exp_()
                probabilities[torch.arange(len(probabilities), device=hidden.device), targets[rows]] -= 1
                gradient[rows] = (probabilities.to(weight.dtype) @ weight).to(gradient.dtype)
        if wants_gradient:
            context.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(context, upstream):
        (gradient,) = context.saved_tensors
        return (gradient * upstream[:, None]).to(gradient.dtype), None, None, None


def frozen_head(model) -> tuple[torch.nn.Module, torch.nn.Linear] | None:
    """The model without its output layer, and that layer; None where the layer is more than a frozen matrix of this process."""
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    head, decoder = causal.get_output_embeddings(), getattr(causal, causal.base_model_prefix, None)
    if type(head) is not torch.nn.Linear or decoder is None or type(head.weight.data) is not torch.Tensor or head.weight.requires_grad:
        return None
    return decoder, head
