"""BEAM.md in code, without transformers' generate; also measures how close the competing scores came."""

import copy

import torch


def next_logits(model, prompt_cache, running):
    """Logits after each running beam, all its new tokens run again on a copy of the prompt's cache: nothing to reorder."""
    return model(torch.tensor(running), past_key_values=copy.deepcopy(prompt_cache)).logits[:, -1].float()


def candidates(running, scores, log_probs, keep):
    """Best `keep` of all (score, sequence); ties to the lower flat index, as BEAM.md says."""
    total = (log_probs + scores[:, None]).flatten()
    order = torch.sort(total, descending=True, stable=True)
    vocabulary = log_probs.shape[1]
    return [(order.values[k], running[i // vocabulary] + [i % vocabulary]) for k, i in enumerate(order.indices[:keep].tolist())]


def boundary(values, count):
    """Distance between the last chosen and the first refused of values sorted from high to low."""
    return float(values[count - 1] - values[count]) if len(values) > count and values[count] > -1e8 else float("inf")


def finish_gap(found, ended, beams):
    """How close an ended candidate came to the rank that may finish, from either side."""
    worst_in, best_out = found[beams - 1][0], found[beams][0]
    inside = [float(s - best_out) for (s, _), e in zip(found[:beams], ended[:beams]) if e]
    outside = [float(worst_in - s) for (s, _), e in zip(found[beams:], ended[beams:]) if e]
    return min(inside + outside, default=float("inf"))


@torch.no_grad()
def beam_search(model, prompt, beams, max_new_tokens, eos):
    """Returns [(new tokens, score)] best first, and the smallest gap between competing scores."""
    running, running_score = [[] for _ in range(beams)], torch.tensor([0.0] + [-1e9] * (beams - 1))
    finished, gap, n, is_open = [], float("inf"), 0, True
    start = model(torch.tensor([prompt] * beams), use_cache=True, logits_to_keep=1)
    while is_open and n < max_new_tokens:
        logits = next_logits(model, start.past_key_values, running) if n else start.logits[:, -1].float()
        found = candidates(running, running_score, torch.log_softmax(logits, -1), 2 * beams)
        ended = [tokens[-1] == eos or n + 1 == max_new_tokens for _, tokens in found]
        gap = min(gap, finish_gap(found, ended, beams))
        going = [c for c, e in zip(found, ended) if not e]
        gap = min(gap, boundary([s for s, _ in going], beams))
        new = [(s / (n + 1), tokens) for (s, tokens), e in zip(found[:beams], ended[:beams]) if e]
        merged = sorted(finished + new, key=lambda c: -float(c[0]))
        gap = min(gap, boundary([s for s, _ in merged], beams))
        finished, n = merged[:beams], n + 1
        if n < max_new_tokens:
            running, running_score = [t for _, t in going[:beams]], torch.stack([s for s, _ in going[:beams]])
            if len(finished) == beams:
                margin = float(running_score[0] / n - finished[-1][0])
                gap = min(gap, abs(margin))
                is_open = margin > 0
    scores = [s for s, _ in finished]
    gap = min([gap] + [float(a - b) for a, b in zip(scores, scores[1:])])
    return [(tokens, float(score)) for score, tokens in finished], gap
