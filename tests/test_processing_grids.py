"""Patches and tiles: value for value what transformers' PIL image processors make of a picture."""

import numpy as np
import pytest
from PIL import Image
from similar_fast.models.manifest import PatchSpec, TileSpec
from similar_fast.processing.patches import cut_patches, num_tokens
from similar_fast.processing.tiles import lay_tiles
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def picture(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def patch_spec(window_size: int = 0) -> PatchSpec:
    return PatchSpec(
        token=1,
        patch_size=14,
        merge_size=2,
        temporal_patch_size=2,
        min_pixels=56 * 56,
        max_pixels=28 * 28 * 200,
        mean=MEAN,
        std=STD,
        window_size=window_size,
    )


@pytest.mark.parametrize("block", range(6))
def test_patches_equal_those_of_transformers(block: int) -> None:
    rng = np.random.default_rng(block)
    spec = patch_spec()
    size = {"shortest_edge": spec.min_pixels, "longest_edge": spec.max_pixels}
    reference = Qwen2VLImageProcessorPil(size=size, image_mean=list(MEAN), image_std=list(STD))

    for _ in range(50):
        image = picture(rng, int(rng.integers(8, 400)), int(rng.integers(8, 300)))
        found = cut_patches(image, spec)
        expected = reference(images=[image], return_tensors="np")

        assert found.grid == tuple(expected["image_grid_thw"][0])
        assert np.array_equal(found.pixel_values, expected["pixel_values"])
        assert found.num_tokens == num_tokens(*image.size, spec)
        assert found.num_tokens * 4 == len(found.pixel_values)


def test_tiles_equal_those_of_transformers() -> None:
    rng = np.random.default_rng(0)
    spec = TileSpec(1, tile_size=112, max_tiles=4, tokens_per_tile=65, mean=MEAN, std=STD)
    reference = MllamaImageProcessorPil(
        size={"height": 112, "width": 112},
        max_image_tiles=4,
        image_mean=list(MEAN),
        image_std=list(STD),
    )

    for _ in range(100):
        image = picture(rng, int(rng.integers(8, 500)), int(rng.integers(8, 400)))
        found = lay_tiles(image, spec)
        expected = reference(images=[image], return_tensors="np")

        assert found.num_tiles == expected["num_tiles"][0][0]
        assert found.aspect_ratio_id == expected["aspect_ratio_ids"][0][0]
        assert np.array_equal(found.aspect_ratio_mask, expected["aspect_ratio_mask"][0][0])
        assert np.array_equal(found.pixel_values, expected["pixel_values"][0][0])
