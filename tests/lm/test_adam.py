"""Known answers of Adam's direction, and torch's own AdamW as the oracle."""

import numpy as np
import pytest
import torch

from curate.lm.adam import direction
from curate.lm.gradient_config import Adam

G = torch.tensor([[0.3, -2.0, 1e-6, 0.0]], dtype=torch.float64)
ZERO = torch.zeros(4, dtype=torch.float64)


def test_from_nothing_the_epsilon_is_inside_the_root():
    found = direction(G, ZERO, ZERO, Adam())
    want = 0.1 * G / torch.sqrt(0.001 * G**2 + 1e-8)
    torch.testing.assert_close(found, want, rtol=1e-14, atol=0)
    # For a small gradient the places of the epsilon are far apart: nearly 0 here, of the size of the others there.
    outside = direction(G, ZERO, ZERO, Adam(eps_place="outside"))
    torch.testing.assert_close(outside, 0.1 * G / (0.001**0.5 * G.abs() + 1e-8), rtol=1e-14, atol=0)
    assert found[0, 2] < 0.002 and outside[0, 2] > 2


def test_the_moments_count():
    m, v = torch.tensor([1.0, -1.0, 0.5, 2.0]).double(), torch.tensor([4.0, 1.0, 1e-8, 9.0]).double()
    want = (0.9 * m + 0.1 * G) / torch.sqrt(0.999 * v + 0.001 * G**2 + 1e-8)
    kept = m.clone(), v.clone()
    torch.testing.assert_close(direction(G, m, v, Adam()), want, rtol=1e-14, atol=0)
    assert torch.equal(m, kept[0]) and torch.equal(v, kept[1])
    rows = torch.cat([G, 3 * G])
    torch.testing.assert_close(direction(rows, m, v, Adam())[1:], direction(3 * G, m, v, Adam()), rtol=1e-14, atol=0)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_bias_corrected_and_outside_it_is_the_step_of_torch(steps):
    weight = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=1.0, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        weight.grad = torch.randn(4, generator=generator, dtype=torch.float64)
        optimizer.step()
    state = optimizer.state[weight] or {"exp_avg": ZERO, "exp_avg_sq": ZERO, "step": 0}
    m, v, t = state["exp_avg"].clone(), state["exp_avg_sq"].clone(), int(state["step"])
    before = weight.detach().clone()
    weight.grad = G[0].clone()
    optimizer.step()
    found = direction(G, m, v, Adam(eps_place="outside", bias_correction=True), t)
    np.testing.assert_allclose(found[0], (before - weight).detach(), rtol=1e-9, atol=1e-15)


def test_bad_settings_are_refused():
    for wrong in ({"eps_place": "under"}, {"eps": 0}, {"beta1": 1}, {"betas": 1}):
        with pytest.raises(ValueError):
            Adam(**wrong)
