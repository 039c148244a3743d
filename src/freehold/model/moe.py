"""DeepSeekMoE: a router that picks a few of many small experts for each token, beside experts that see every token.

Shapes: T tokens, D hidden, E experts, K experts per token, G groups of experts.

Departures:
1. Weights are normalised (`norm_topk_prob`) and then scaled (`routed_scaling_factor`) in every family, as DeepSeek-V3
   does. V2's published code leaves the scaling out where it normalises; V2 and V2-Lite as published do not normalise.
2. The contributions of a token's experts are summed in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freehold.model.config import ModelConfig
from freehold.model.mlp import MLP

__all__ = ["MoE", "Router", "dispatch"]


class Router(nn.Module):
    """Chooses each token's experts and their weights. Its parameters stay in float32, and so does its arithmetic.

    Source: DeepSeek-V3 report, section 2.1.2, Eqs 13-16 and the node limit on p10; DeepSeek-V2 (arXiv 2405.04434),
        sections 2.2.1-2.2.2 (softmax scores, device-limited routing); `Gate` of DeepSeek-V3's `inference/model.py`.
    """

    e_score_correction_bias: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.n_routed_experts, config.hidden_size, dtype=torch.float32))
        is_biased = config.topk_method == "noaux_tc"
        bias_E = torch.zeros(config.n_routed_experts, dtype=torch.float32) if is_biased else None
        self.register_buffer("e_score_correction_bias", bias_E)
        self.top_k = config.num_experts_per_tok
        self.groups, self.top_groups = config.n_group, config.topk_group
        self.sigmoid = config.scoring_func == "sigmoid"
        self.normalise = config.norm_topk_prob
        self.scaling = config.routed_scaling_factor

    def forward(self, x_TD: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the chosen experts (T, K) as int64 and their weights (T, K) in float32, in no particular order."""
        scores_TE = self.scores(x_TD)
        chosen_TK = self.choose(scores_TE)
        weights_TK = scores_TE.gather(1, chosen_TK)
        if self.normalise:
            weights_TK = weights_TK / (weights_TK.sum(dim=-1, keepdim=True) + 1e-20)
        return chosen_TK, weights_TK * self.scaling

    def scores(self, x_TD: Tensor) -> Tensor:
        """Each token's affinity to each expert, (T, E) in float32, before any bias."""
        logits_TE = F.linear(x_TD.float(), self.weight.float())
        return logits_TE.sigmoid() if self.sigmoid else logits_TE.softmax(dim=-1)

    def choose(self, scores_TE: Tensor) -> Tensor:
        """The top K experts of each token out of its top groups, by score plus selection bias: (T, K)."""
        choice_TE = scores_TE.detach()
        if self.e_score_correction_bias is not None:
            choice_TE = choice_TE + self.e_score_correction_bias
        if self.top_groups < self.groups:
            choice_TGe = choice_TE.view(len(choice_TE), self.groups, -1)
            if self.e_score_correction_bias is not None:
                group_scores_TG = choice_TGe.topk(2, dim=-1).values.sum(dim=-1)
            else:
                group_scores_TG = choice_TGe.amax(dim=-1)
            kept_TG = torch.zeros_like(group_scores_TG, dtype=torch.bool)
            kept_TG.scatter_(1, group_scores_TG.topk(self.top_groups, dim=-1, sorted=False).indices, True)
            choice_TE = choice_TGe.masked_fill(~kept_TG.unsqueeze(-1), float("-inf")).flatten(1)
        return choice_TE.topk(self.top_k, dim=-1, sorted=False).indices


class MoE(nn.Module):
    """Routed and shared experts of one layer, with published parameter names.

    Source: DeepSeek-V3 report, section 2.1.2, Eq 12.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.moe_intermediate_size
        self.gate = Router(config)
        self.experts = nn.ModuleList(MLP(config.hidden_size, width) for _ in range(config.n_routed_experts))
        self.shared_experts = (
            MLP(config.hidden_size, width * config.n_shared_experts, bias=config.mlp_bias)
            if config.n_shared_experts
            else None
        )

    def forward(self, x_TD: Tensor) -> Tensor:
        """Returns (T, D)."""
        chosen_TK, weights_TK = self.gate(x_TD)
        out_TD = dispatch(x_TD, chosen_TK, weights_TK, self.experts).to(x_TD.dtype)
        return out_TD if self.shared_experts is None else out_TD + self.shared_experts(x_TD)


def dispatch(x_TD: Tensor, chosen_TK: Tensor, weights_TK: Tensor, experts: nn.ModuleList) -> Tensor:
    """Sends every token through its experts and sums what they give, weighted.

    Tokens are sorted by expert, so that each expert that was hit runs once over all of its tokens and the others not at
    all. A token's contributions are added in the order of its experts' numbers, whatever else is in the step.

    Args:
        x_TD: What the experts see.
        chosen_TK: Which experts, all different for one token.
        weights_TK: Their weights, float32.
        experts: Modules from (t, D) to (t, D).

    Returns:
        (T, D) in float32.
    """
    top_k = chosen_TK.shape[1]
    flat_N = chosen_TK.flatten()
    order_N = flat_N.argsort(stable=True)
    counts = flat_N.bincount(minlength=len(experts)).tolist()
    out_TD = torch.zeros(x_TD.shape, dtype=torch.float32, device=x_TD.device)
    for expert, rows_N in zip(experts, torch.split(order_N, counts), strict=True):
        if len(rows_N):
            tokens_N = rows_N // top_k
            contribution = expert(x_TD[tokens_N]).float() * weights_TK.flatten()[rows_N, None]
            out_TD.index_add_(0, tokens_N, contribution)
    return out_TD
