"""Pictures (modules/processing.py)."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from modules import (
    errors,
    extra_networks,
    images,
    infotext_utils,
    paths_internal,
    rng,
    scripts,
    sd_hijack,
    sd_models,
    sd_samplers,
    shared,
)
from modules.prompt_parser import SdConditioning
from PIL import Image

opts, state, cmd_opts = shared.opts, shared.state, shared.cmd_opts


@dataclass(repr=False)
class StableDiffusionProcessing:
    sd_model: Any = None
    outpath_samples: str | None = None
    outpath_grids: str | None = None
    prompt: Any = ""
    negative_prompt: Any = ""
    seed: Any = -1
    subseed: Any = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: Any = None
    override_settings: Any = None
    override_settings_restore_afterwards: bool = True
    denoising_strength: float | None = None
    disable_extra_networks: bool = False
    scripts: Any = field(default=None, init=False)
    script_args: Any = field(default=(), init=False)
    is_api: bool = field(default=False, init=False)
    iteration: int = field(default=0, init=False)
    all_prompts: Any = field(default=None, init=False)
    all_negative_prompts: Any = field(default=None, init=False)
    all_seeds: Any = field(default=None, init=False)
    all_subseeds: Any = field(default=None, init=False)

    # Of the class: encoded prompts outlive every picture, and whatever a hook did to the encoder meanwhile (:188).
    cached_uc = [None, None]  # noqa: RUF012
    cached_c = [None, None]  # noqa: RUF012

    def __post_init__(self) -> None:
        self.comments: dict[str, int] = {}
        self.extra_generation_params = self.extra_generation_params or {}
        self.override_settings = self.override_settings or {}
        self.cached_uc, self.cached_c = StableDiffusionProcessing.cached_uc, StableDiffusionProcessing.cached_c

    def __getattribute__(self, name: str) -> Any:
        # Whatever model it was made with: the loaded one (:262).
        return shared.sd_model if name == "sd_model" else object.__getattribute__(self, name)

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def close(self) -> None:
        self.c = self.uc = None
        if not opts.persistent_cond_cache:
            StableDiffusionProcessing.cached_c, StableDiffusionProcessing.cached_uc = [None, None], [None, None]

    def setup_prompts(self) -> None:
        many = self.batch_size * self.n_iter
        self.all_prompts = self.prompt if isinstance(self.prompt, list) else many * [self.prompt]
        no = self.negative_prompt
        self.all_negative_prompts = no if isinstance(no, list) else [no] * len(self.all_prompts)
        self.main_prompt, self.main_negative_prompt = self.all_prompts[0], self.all_negative_prompts[0]

    def init(self) -> None: ...

    def cached(self, texts: list[str], cache: list[Any], negative: bool) -> torch.Tensor:
        """``texts`` encoded, or as they were last time: the key holds the LoRA's tag, not what is in its file (:440)."""
        prompts = SdConditioning(texts, negative, self.width, self.height)
        key = (prompts, self.steps, opts.CLIP_stop_at_last_layers, shared.sd_model.sd_checkpoint_info, self.extra_network_data)
        if cache[0] is None or cache[0] != key:
            cache[:] = [key, shared.sd_model.get_learned_conditioning(prompts)]
        return cache[1]

    def parse_extra_network_prompts(self) -> None:
        self.prompts, self.extra_network_data = extra_networks.parse_prompts(self.prompts)

    def setup_conds(self) -> None:
        self.uc = self.cached(self.negative_prompts, self.cached_uc, True)
        self.c = self.cached(self.prompts, self.cached_c, False)

    def of_batch(self, values: Any) -> Any:
        return values[self.iteration * self.batch_size : (self.iteration + 1) * self.batch_size]

    def sample(self) -> torch.Tensor:
        return sd_samplers.sample(self, self.rng.next(), self.c, self.uc, steps=self.steps)


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_prompt: Any = ""
    hr_negative_prompt: Any = ""
    all_hr_prompts: Any = field(default=None, init=False)
    all_hr_negative_prompts: Any = field(default=None, init=False)

    cached_hr_uc = [None, None]  # noqa: RUF012
    cached_hr_c = [None, None]  # noqa: RUF012

    def setup_prompts(self) -> None:
        super().setup_prompts()
        if self.enable_hr:
            many = len(self.all_prompts)
            self.all_hr_prompts = many * [self.hr_prompt] if self.hr_prompt else list(self.all_prompts)
            self.all_hr_negative_prompts = many * [self.hr_negative_prompt] if self.hr_negative_prompt else list(self.all_negative_prompts)

    def init(self) -> None:
        if self.enable_hr:
            # Callable values are asked for each picture (:806).
            self.extra_generation_params["Hires prompt"] = lambda p, index, prompt_text, **_: (
                p.all_hr_prompts[index] if p.all_hr_prompts[index] != prompt_text else None
            )
            state.job_count = 2 * (self.n_iter if state.job_count == -1 else state.job_count)

    def sample(self) -> torch.Tensor:
        found = super().sample()
        if not self.enable_hr or state.interrupted:
            return found
        texts, data = extra_networks.parse_prompts(self.of_batch(self.all_hr_prompts))
        extra_networks.activate(self, data)
        c = self.cached(texts, StableDiffusionProcessingTxt2Img.cached_hr_c, False)
        uc = self.cached(self.of_batch(self.all_hr_negative_prompts), StableDiffusionProcessingTxt2Img.cached_hr_uc, True)
        larger = torch.nn.functional.interpolate(found, scale_factor=self.hr_scale, mode="nearest")
        return again(self, larger, c, uc)


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images: list[Image.Image] | None = None

    def sample(self) -> torch.Tensor:
        pixels = [
            np.asarray(i.convert("RGB").resize((self.width, self.height)), dtype=np.float32) / 127.5 - 1 for i in self.init_images or []
        ]
        model = self.sd_model
        given = model.get_first_stage_encoding(model.encode_first_stage(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)))
        return again(self, given.expand(len(self.prompts), -1, -1, -1), self.c, self.uc)


def again(p: Any, latents: torch.Tensor, c: torch.Tensor, uc: torch.Tensor) -> torch.Tensor:
    """Noise ``latents`` in part and sample from there."""
    share = 0.75 if p.denoising_strength is None else p.denoising_strength
    signal = p.sd_model.alphas_cumprod[round(999 * share)]
    noise = rng.ImageRNG(latents.shape[1:], p.seeds).next()
    noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
    return sd_samplers.sample(p, noisy, c, uc, steps=max(1, round(p.steps * share)), noised=share)


class Processed:
    def __init__(self, p: Any, images_list: list[Image.Image], infotexts: list[str], index_of_first_image: int = 0) -> None:
        self.images, self.infotexts, self.index_of_first_image = images_list, infotexts, index_of_first_image
        # Made into text here: what a script says in ``postprocess`` comes too late (:525, :1148).
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.all_prompts, self.all_negative_prompts = p.all_prompts, p.all_negative_prompts
        self.all_seeds, self.all_subseeds = p.all_seeds, p.all_subseeds
        self.extra_generation_params, self.info = p.extra_generation_params, infotexts[0] if infotexts else ""

    def js(self) -> str:
        # No comments in it (:571); what JSON cannot hold becomes null.
        names = ("all_prompts", "all_negative_prompts", "all_seeds", "extra_generation_params", "index_of_first_image", "infotexts")
        found = {"prompt": self.all_prompts[0], "negative_prompt": self.all_negative_prompts[0]}
        return json.dumps({**found, **{name: getattr(self, name) for name in names}}, default=lambda _: None)


def create_infotext(p: Any, texts: tuple[list[str], list[str]], all_seeds: list[int], index: int = 0, use_main_prompt: bool = False) -> str:
    prompt_text = p.main_prompt if use_main_prompt else texts[0][index]
    negative_prompt = p.main_negative_prompt if use_main_prompt else texts[1][index]
    params = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler,
        "CFG scale": p.cfg_scale,
        "Seed": p.all_seeds[0] if use_main_prompt else all_seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model hash": p.sd_model.sd_model_hash,
        "Model": p.sd_model.sd_checkpoint_info.name_for_extra,
        "Clip skip": None if opts.CLIP_stop_at_last_layers <= 1 else opts.CLIP_stop_at_last_layers,
        **p.extra_generation_params,
        "Version": "v1.10.1",
    }
    for key, value in params.items():
        try:
            if isinstance(value, list):
                params[key] = value[index]
            elif callable(value):
                params[key] = value(**locals())
        except Exception:
            # Left out, and nobody is told (:809).
            errors.report(f'Error creating infotext for key "{key}"', exc_info=True)
            params[key] = None
    last = ", ".join(key if key == value else f"{key}: {infotext_utils.quote(value)}" for key, value in params.items() if value is not None)
    return "\n".join([prompt_text, *([f"Negative prompt: {negative_prompt}"] if negative_prompt else []), last]).strip()


def process_images(p: Any) -> Processed:
    """The queue is the caller's business: nested calls are how previews are made."""
    if p.scripts is not None:
        p.scripts.run_hook("before_process", p)
    # Only keys that config.json holds come back: the others keep the override for everybody (:823).
    stored = {key: opts.data[key] for key in p.override_settings if key in opts.data}
    try:
        if sd_models.checkpoint_aliases.get(p.override_settings.get("sd_model_checkpoint")) is None:
            p.override_settings.pop("sd_model_checkpoint", None)
            # Whatever the dropdown names by now, in the middle of a training too (:830).
            sd_models.reload_model_weights()
        for key, value in p.override_settings.items():
            opts.set(key, value, is_api=True, run_callbacks=False)
            if key == "sd_model_checkpoint":
                sd_models.reload_model_weights()
        return process_images_inner(p)
    finally:
        if p.override_settings_restore_afterwards:
            for key, value in stored.items():
                setattr(opts, key, value)


def fixed_seed(seed: Any) -> Any:
    # Drawn from Python's generator: for the subseed, at every picture (:685).
    return int(random.randrange(4294967294)) if seed in (-1, "", None) else seed


def process_images_inner(p: Any) -> Processed:
    seed, subseed = fixed_seed(p.seed), fixed_seed(p.subseed)
    sd_hijack.model_hijack.clear_comments()
    p.setup_prompts()
    many = range(len(p.all_prompts))
    p.all_seeds = seed if isinstance(seed, list) else [int(seed) + x for x in many]
    p.all_subseeds = subseed if isinstance(subseed, list) else [int(subseed) + x for x in many]
    if p.scripts is not None:
        p.scripts.run_hook("process", p)
    made: list[Image.Image] = []
    infotexts: list[str] = []
    with torch.no_grad(), p.sd_model.ema_scope():
        p.init()
        if state.job_count == -1:
            state.job_count = p.n_iter
        for n in range(p.n_iter):
            p.iteration = n
            if state.interrupted or state.stopping_generation:
                break
            one_batch(p, n, made, infotexts)
        if not infotexts:
            p.prompts, p.negative_prompts, p.seeds = p.all_prompts, p.all_negative_prompts, p.all_seeds
            infotexts.append(create_infotext(p, (p.all_prompts, p.all_negative_prompts), p.all_seeds))
        first = _grid(p, made, infotexts)
    if not p.disable_extra_networks and getattr(p, "extra_network_data", None):
        extra_networks.deactivate(p, p.extra_network_data)
    result = Processed(p, made, infotexts, first)
    if p.scripts is not None:
        p.scripts.run_hook("postprocess", p, result)
    return result


def one_batch(p: Any, n: int, made: list[Image.Image], infotexts: list[str]) -> None:
    sd_models.reload_model_weights()
    p.prompts, p.negative_prompts = p.of_batch(p.all_prompts), p.of_batch(p.all_negative_prompts)
    p.seeds, p.subseeds = p.of_batch(p.all_seeds), p.of_batch(p.all_subseeds)
    p.rng = rng.ImageRNG((4, p.height // 8, p.width // 8), p.seeds)
    about = {"batch_number": n, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
    hook = p.scripts.run_hook if p.scripts is not None else lambda *_, **__: None
    hook("before_process_batch", p, **about)
    # After ``process``: tags that a script appended there count (:957).
    p.parse_extra_network_prompts()
    if not p.disable_extra_networks:
        extra_networks.activate(p, p.extra_network_data)
    hook("process_batch", p, **about)
    p.setup_conds()
    if n == 0 and not cmd_opts.no_prompt_history:
        with open(os.path.join(paths_internal.data_path, "params.txt"), "w", encoding="utf8") as file:
            file.write(create_infotext(p, (p.all_prompts, p.all_negative_prompts), p.all_seeds))
    for comment in sd_hijack.model_hijack.comments:
        p.comment(comment)
    samples = p.sample()
    decoded = torch.cat([p.sd_model.decode_first_stage(one[None]) for one in samples])
    pictures = ((decoded.float() + 1) / 2).clamp(0, 1)
    state.nextjob()
    hook("postprocess_batch", p, images=pictures, batch_number=n)
    p.prompts = p.of_batch(p.all_prompts)
    for i, pixels in enumerate(pictures):
        pp = scripts.PostprocessImageArgs(Image.fromarray((255 * pixels.permute(1, 2, 0).numpy()).astype(np.uint8)))
        hook("postprocess_image", p, pp)
        hook("postprocess_image_after_composite", p, pp)
        text = create_infotext(p, (p.prompts, p.negative_prompts), p.seeds, i)
        if opts.samples_save and not p.do_not_save_samples:
            # Before ``postprocess``: files keep the order of the seeds (:1085).
            images.save_image(pp.image, p.outpath_samples, "", p.seeds[i], p.prompts[i], info=text)
        pp.image.info["parameters"] = text
        infotexts.append(text)
        made.append(pp.image)


def _grid(p: Any, made: list[Image.Image], infotexts: list[str]) -> int:
    if p.do_not_save_grid or not (opts.return_grid or opts.grid_save) or (len(made) < 2 and opts.grid_only_if_multiple):
        return 0
    grid = images.image_grid(made, p.batch_size)
    text = create_infotext(p, (p.prompts, p.negative_prompts), p.seeds, use_main_prompt=True)
    if opts.grid_save:
        images.save_image(grid, p.outpath_grids, "grid", p.all_seeds[0], info=text)
    if not opts.return_grid:
        return 0
    made.insert(0, grid)
    infotexts.insert(0, text)
    return 1
