"""DeepSeek-V3 from the report's equations, one token and one head at a time in float64; it shares nothing with ours.

Covers what the tests need: multi-head latent attention (Eqs 1-11), experts with sigmoid scores, selection bias and the
limit on groups (Eqs 12-16, p10), and multi-token prediction (Eqs 21-23), with plain rotary embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Reference"]


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / math.sqrt(float((x * x).mean()) + eps) * weight


def _rotate(x: Tensor, position: int, theta: float) -> Tensor:
    """Pairs (2i, 2i + 1) as complex numbers, turned by position * theta^(-2i/r)."""
    out = x.clone()
    for i in range(len(x) // 2):
        angle = position * theta ** (-2 * i / len(x))
        turned = complex(float(x[2 * i]), float(x[2 * i + 1])) * complex(math.cos(angle), math.sin(angle))
        out[2 * i], out[2 * i + 1] = turned.real, turned.imag
    return out


@dataclass
class Reference:
    """The model behind a folder's tensors; `config` is the parsed config.json."""

    tensors: dict[str, Tensor]
    config: dict

    def __post_init__(self) -> None:
        self.tensors = {name: tensor.double() for name, tensor in self.tensors.items()}
        self.eps = self.config["rms_norm_eps"]
        self.theta = self.config["rope_parameters"]["rope_theta"]
        assert self.config["rope_parameters"]["rope_type"] == "default"

    def hidden(self, ids: list[int]) -> list[Tensor]:
        """The representation of each token after the final norm."""
        states = [self.tensors["model.embed_tokens.weight"][token] for token in ids]
        for layer in range(self.config["num_hidden_layers"]):
            states = self.block(f"model.layers.{layer}.", states)
        return [_norm(state, self.tensors["model.norm.weight"], self.eps) for state in states]

    def logits(self, ids: list[int]) -> Tensor:
        return torch.stack([self.tensors["lm_head.weight"] @ state for state in self.hidden(ids)])

    def mtp(self, states: list[Tensor], next_ids: list[int], depth: int) -> list[Tensor]:
        """Eqs 21 and 22: the module's representations, after its own norm."""
        prefix = f"model.layers.{self.config['num_hidden_layers'] + depth}."
        w = {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}
        joined = []
        for state, token in zip(states, next_ids, strict=True):
            embedded = _norm(w["embed_tokens.weight"][token], w["enorm.weight"], self.eps)
            joined.append(w["eh_proj.weight"] @ torch.cat((embedded, _norm(state, w["hnorm.weight"], self.eps))))
        return [_norm(state, w["shared_head.norm.weight"], self.eps) for state in self.block(prefix, joined)]

    def mtp_logits(self, states: list[Tensor], depth: int) -> Tensor:
        """Eq 23."""
        head = self.tensors[f"model.layers.{self.config['num_hidden_layers'] + depth}.shared_head.head.weight"]
        return torch.stack([head @ state for state in states])

    def block(self, prefix: str, states: list[Tensor]) -> list[Tensor]:
        w = {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}
        attended = self.attention(w, [_norm(state, w["input_layernorm.weight"], self.eps) for state in states])
        states = [state + a for state, a in zip(states, attended, strict=True)]
        fed = [self.feed_forward(w, _norm(s, w["post_attention_layernorm.weight"], self.eps)) for s in states]
        return [state + f for state, f in zip(states, fed, strict=True)]

    def attention(self, w: dict[str, Tensor], states: list[Tensor]) -> list[Tensor]:
        heads, nope, rope = (self.config[k] for k in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim"))
        rank, value = self.config["kv_lora_rank"], self.config["v_head_dim"]
        queries, keys, values = [], [], []
        for position, h in enumerate(states):
            down = w["self_attn.kv_a_proj_with_mqa.weight"] @ h
            c = _norm(down[:rank], w["self_attn.kv_a_layernorm.weight"], 1e-6)
            k_rope = _rotate(down[rank:], position, self.theta)
            up = (w["self_attn.kv_b_proj.weight"] @ c).view(heads, nope + value)
            keys.append([torch.cat((up[i, :nope], k_rope)) for i in range(heads)])
            values.append([up[i, nope:] for i in range(heads)])
            c_q = _norm(w["self_attn.q_a_proj.weight"] @ h, w["self_attn.q_a_layernorm.weight"], 1e-6)
            q = (w["self_attn.q_b_proj.weight"] @ c_q).view(heads, nope + rope)
            queries.append([torch.cat((q[i, :nope], _rotate(q[i, nope:], position, self.theta))) for i in range(heads)])
        outs = []
        for t in range(len(states)):
            parts = []
            for i in range(heads):
                scores = torch.stack([queries[t][i] @ keys[j][i] for j in range(t + 1)]) / math.sqrt(nope + rope)
                weights = torch.exp(scores - scores.max())
                weights = weights / weights.sum()
                parts.append(sum(weights[j] * values[j][i] for j in range(t + 1)))
            outs.append(w["self_attn.o_proj.weight"] @ torch.cat(parts))
        return outs

    def feed_forward(self, w: dict[str, Tensor], h: Tensor) -> Tensor:
        if "mlp.gate.weight" not in w:
            return self.expert(w, "mlp.", h)
        experts, groups = self.config["n_routed_experts"], self.config["n_group"]
        affinity = torch.sigmoid(w["mlp.gate.weight"] @ h)
        biased = affinity + w["mlp.gate.e_score_correction_bias"]
        size = experts // groups
        strength = {g: sum(sorted(biased[g * size : (g + 1) * size].tolist())[-2:]) for g in range(groups)}
        kept = sorted(strength, key=lambda g: -strength[g])[: self.config["topk_group"]]
        allowed = [e for e in range(experts) if e // size in kept]
        chosen = sorted(allowed, key=lambda e: -float(biased[e]))[: self.config["num_experts_per_tok"]]
        total = sum(float(affinity[e]) for e in chosen)
        out = self.expert(w, "mlp.shared_experts.", h)
        for e in chosen:
            gate = float(affinity[e]) / total * self.config["routed_scaling_factor"]
            out = out + gate * self.expert(w, f"mlp.experts.{e}.", h)
        return out

    @staticmethod
    def expert(w: dict[str, Tensor], prefix: str, h: Tensor) -> Tensor:
        gate = w[f"{prefix}gate_proj.weight"] @ h
        return w[f"{prefix}down_proj.weight"] @ (gate * torch.sigmoid(gate) * (w[f"{prefix}up_proj.weight"] @ h))
