"""The palette, also as people with a color vision deficiency see it."""

import itertools

import numpy as np
import pytest

from mlsh_jax.viz import colors

# Machado, Oliveira and Fernandes 2009, at full severity, for linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
SCENE = (colors.WALL, colors.GOAL, colors.ENEMY, colors.START, colors.FLOOR)
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip


def linear(color: str) -> np.ndarray:
    """Linear RGB of an sRGB color like "#0072B2"."""
    value = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of a linear RGB color."""
    ratio = RGB_TO_XYZ @ np.clip(rgb, 0, 1) / RGB_TO_XYZ.sum(axis=1)
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(vision: str, first: str, second: str) -> float:
    """CIE 1976 color difference; about 2 can just be noticed."""
    first_lab, second_lab = (lab(VISION[vision] @ linear(color)) for color in (first, second))
    return float(np.linalg.norm(first_lab - second_lab))


@pytest.mark.parametrize("vision", VISION)
def test_colors_of_sub_policies_differ_from_each_other(vision):
    for first, second in itertools.combinations(colors.SUBPOLICIES, 2):
        assert distance(vision, first, second) > 15, (first, second)


@pytest.mark.parametrize("vision", VISION)
def test_colors_of_sub_policies_differ_from_those_of_the_scene(vision):
    for first, second in itertools.product(colors.SUBPOLICIES, SCENE):
        assert distance(vision, first, second) > 9, (first, second)


@pytest.mark.parametrize("vision", VISION)
def test_the_first_two_sub_policies_are_far_apart(vision):
    assert distance(vision, *colors.SUBPOLICIES[:2]) > 70


def test_colors_repeat_after_the_tenth():
    assert len(set(map(str.upper, colors.SUBPOLICIES))) == 10
    assert colors.subpolicy_color(10) == colors.subpolicy_color(0)


@pytest.mark.parametrize("k", range(10))
def test_text_on_the_color_of_a_sub_policy_can_be_read(k):
    def luminance(color: str) -> float:
        return float((RGB_TO_XYZ @ linear(color))[1])

    pair = [luminance(colors.text_color(k)), luminance(colors.subpolicy_color(k))]
    assert (max(pair) + 0.05) / (min(pair) + 0.05) > 4.5  # WCAG 2, level AA
