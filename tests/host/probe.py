"""A WebUI extension that the host tests write into its ``extensions`` folder: what the model and the WebUI look like now,
and a way to make the next training fail. Never shipped. The tests on the stand-in (tests/webui) import it too, to look with the same eyes."""

import functools
import gc
import hashlib
import random
import threading

import networks
import numpy as np
import torch
from fastapi import Body
from modules import call_queue, processing, script_callbacks, sd_models, shared

from facechain_ext.hosts.detect import WebUi, detect

PREFIX = "/facechain-probe"
OWNERS = (
    processing.StableDiffusionProcessing,
    processing.StableDiffusionProcessingTxt2Img,
    processing.StableDiffusionProcessingImg2Img,
)
CACHES = ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc")


def tensor_bytes(tensor):
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.dim() else repr(tensor.item()).encode()


def digest(pairs):
    total = hashlib.sha256()
    for name, tensor in pairs:
        total.update(name.encode())
        total.update(str((tensor.dtype, tuple(tensor.shape))).encode())
        total.update(tensor_bytes(tensor))
    return total.hexdigest()


def whole(model):
    """UNet, text encoder and VAE as one module; Forge holds them behind patchers, and its model is none."""
    objects = getattr(model, "forge_objects_original", None)
    if objects is None:
        return model
    return torch.nn.ModuleDict({"unet": objects.unet.model, "clip": objects.clip.cond_stage_model, "vae": objects.vae.first_stage_model})


def merged_by_patchers(model):
    """Parameter's path in ``whole`` -> what it was before a LoRA was merged: Forge keeps it in the loader, reForge in the patcher."""
    found = {}
    for objects in (getattr(model, "forge_objects_after_applying_lora", None), getattr(model, "forge_objects_original", None)):
        if objects is not None:
            for part, patcher in (("unet", objects.unet), ("clip", objects.clip.patcher)):
                loader = getattr(patcher, "lora_loader", patcher)
                found.update({f"{part}.{key}": getattr(kept, "weight", kept) for key, kept in loader.backup.items()})
    return found


def base_of(model):
    """The state_dict as it is without LoRAs: the WebUI keeps what a merged layer held before (extensions-builtin/Lora/networks.py)."""
    state = dict(whole(model).state_dict())
    patched = merged_by_patchers(model)
    state.update(patched)
    merged = len(patched)
    for path, module in whole(model).named_modules():
        if getattr(module, "network_current_names", ()) == ():
            continue
        merged += 1
        weight, bias = getattr(module, "network_weights_backup", None), getattr(module, "network_bias_backup", None)
        if isinstance(module, torch.nn.MultiheadAttention):
            kept = {"in_proj_weight": weight[0], "out_proj.weight": weight[1], "out_proj.bias": bias}
        else:
            kept = {"weight": weight, "bias": bias}
        state.update({f"{path}.{name}": backup for name, backup in kept.items() if isinstance(backup, torch.Tensor)})
    return state, merged


def known(values):
    """A short name for a long list."""
    return hashlib.sha256(repr(values).encode()).hexdigest()


def random_numbers():
    found = [repr(random.getstate()), repr(np.random.get_state()), tensor_bytes(torch.get_rng_state()).hex()]
    if torch.cuda.is_available():
        found += [tensor_bytes(state).hex() for state in torch.cuda.get_rng_state_all()]
    return [known(state) for state in found]


def look(model):
    everything = whole(model)
    # Not the collection itself, which is made anew for each look.
    modules = [(name, module) for name, module in everything.named_modules() if module is model or module is not everything]
    parameters = {**dict(everything.named_parameters()), **merged_by_patchers(model)}
    base, merged = base_of(model)
    # Taking a LoRA out, reForge puts frozen new objects around the old memory (ldm_patched/modules/model_patcher.py, unpatch_model).
    new_objects = detect() is WebUi.REFORGE
    return {
        "base": digest(sorted(base.items())),
        "merged layers": merged,
        "model": id(model),
        "checkpoint": model.sd_checkpoint_info.title,
        "modules": known([(name, id(module)) for name, module in modules]),
        "module count": len(modules),
        "parameters": known([(name, p.data_ptr() if new_objects else id(p)) for name, p in parameters.items()]),
        "training": known([(name, module.training) for name, module in modules]),
        "training count": sum(module.training for _, module in modules),
        "requires_grad": known([(name, p.requires_grad and not new_objects) for name, p in parameters.items()]),
        "requires_grad count": sum(p.requires_grad and not new_objects for p in parameters.values()),
        "gradients": sum(p.grad is not None for p in everything.parameters()),
        "forward hooks": sum(len(m._forward_hooks) for _, m in modules),
        "forward pre-hooks": sum(len(m._forward_pre_hooks) for _, m in modules),
        "backward hooks": sum(len(m._backward_hooks) + len(getattr(m, "_backward_pre_hooks", ())) for _, m in modules),
        "instance forwards": [name for name, m in modules if "forward" in vars(m) or "_forward" in vars(m)],
        "class forwards": known(sorted({(type(m).__module__, type(m).__qualname__, id(type(m).forward)) for _, m in modules})),
        "drawn with": [
            [id(objects.unet), id(objects.clip), id(objects.vae)]
            for name in ("forge_objects_original", "forge_objects_after_applying_lora")
            if (objects := getattr(model, name, None)) is not None
        ],
        "lora hash": getattr(model, "current_lora_hash", None),
        "loaded networks": [network.name for network in networks.loaded_networks],
        "options": dict(shared.opts.data),
        "random": random_numbers(),
        "caches": [
            (owner.__name__, name, id(vars(owner)[name]), known(repr(vars(owner)[name][0])))
            for owner in OWNERS
            for name in CACHES
            if name in vars(owner)
        ],
        "no_prompt_history": shared.cmd_opts.no_prompt_history,
        "default device, dtype": [str(torch.get_default_dtype()), torch.is_grad_enabled()],
        "deterministic": [torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark],
    }


def memory():
    """MB that live tensors hold, and how many threads of ours run."""
    gc.collect()
    held, seen = 0, set()
    for thing in gc.get_objects():
        try:
            if isinstance(thing, torch.Tensor) and thing.data_ptr() not in seen:
                seen.add(thing.data_ptr())
                held += thing.numel() * thing.element_size()
        except Exception:  # whatever else is on the heap
            continue
    return {"tensors MB": round(held / 1e6, 2), "threads": sorted(t.name for t in threading.enumerate() if "facechain" in t.name)}


def fail_at(step, kind):
    """Let prediction number ``step`` of the next training raise, and all after it when memory is gone for good; 0 takes it back."""
    if detect() is WebUi.A1111:
        from facechain_ext.hosts.a1111.session import WebuiSession
    else:
        from facechain_ext.hosts.forge.session import ForgeSession as WebuiSession

    own = getattr(WebuiSession.predict, "__wrapped__", WebuiSession.predict)
    if not step:
        WebuiSession.predict = own
        return
    short = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB (the probe)")
    errors = {
        "error": lambda: RuntimeError("the probe's error"),
        "scarce": lambda: short,
        "memory": lambda: short,
    }
    count = 0

    @functools.wraps(own)
    def predict(*args, **kwargs):
        nonlocal count
        count += 1
        if count == step or (kind == "memory" and count > step):
            raise errors[kind]()
        return own(*args, **kwargs)

    WebuiSession.predict = predict


def agreement(prompt, side):
    """How far our session is from the WebUI's own sampler: at every sampling step, what both make of the same noisy latents and words."""
    from facechain_ext.hosts.a1111.host import WebuiHost
    from facechain_ext.ports import Conditioning, Prediction

    asked, answered = [], []
    script_callbacks.on_cfg_denoiser(asked.append)
    script_callbacks.on_cfg_denoised(answered.append)
    wanted = {"prompt": prompt, "seed": 3, "steps": 4, "width": side, "height": side, "sampler_name": "Euler", "do_not_save_samples": True}
    try:
        with WebuiHost().open_session() as session:
            p = processing.StableDiffusionProcessingTxt2Img(sd_model=shared.sd_model, **wanted)
            processing.process_images(p).images[0].close()
            sampled = [(params.x[:1].clone(), params.sigma[:1], params.text_cond) for params in asked]
            own = session.encode_prompts([prompt], [(side, side)])
            found = []
            for (x, sigma, theirs), denoised in zip(sampled, (params.x for params in answered), strict=True):
                words, vector = (theirs["crossattn"], theirs["vector"]) if isinstance(theirs, dict) else (theirs, None)
                step = int((((1 - session.alphas_cumprod) / session.alphas_cumprod).sqrt() - sigma).abs().argmin())
                a = session.alphas_cumprod[step]
                noisy = x * a.sqrt()
                output = session.predict(noisy, torch.tensor([step]), Conditioning(own.context, own.pooled)).detach()
                velocity = session.checkpoint.prediction is Prediction.V
                clean = a.sqrt() * noisy - (1 - a).sqrt() * output if velocity else (noisy - (1 - a).sqrt() * output) / a.sqrt()
                found.append(
                    {
                        "timestep": step,
                        "words": float((own.context - words).abs().max()),
                        "vector": None if vector is None else float((own.pooled - vector).abs().max()),
                        "clean": float((clean - denoised[:1]).abs().max() / denoised[:1].abs().mean()),
                    }
                )
            return {"prediction": session.checkpoint.prediction.value, "family": session.checkpoint.family.value, "steps": found}
    finally:
        script_callbacks.remove_callbacks_for_function(asked.append)
        script_callbacks.remove_callbacks_for_function(answered.append)


def latents():
    """Whether a photo's latents are the same each time, and come with their deviation."""
    from facechain_ext.hosts.a1111.host import WebuiHost

    photo = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with WebuiHost().open_session() as session:
        (mean, deviation), (again, _) = session.encode_images(photo), session.encode_images(photo)
    return {
        "again": float((mean - again).abs().max()),
        "deviation": bool((deviation > 0).all()),
        "finite": bool(torch.isfinite(mean).all()),
    }


def fit(name):
    """How many of a LoRA file's modules the WebUI's own loader finds a layer for, and where."""
    on_disk = networks.available_networks[name]
    held = {key.partition(".")[0] for key in sd_models.read_state_dict(on_disk.filename)}
    found = networks.load_network(name, on_disk)
    return {"in the file": len(held), "matched": len(found.modules), "layers": sorted(found.modules)}


def add_routes(_demo, app):
    @app.get(f"{PREFIX}/state")
    def state():
        with call_queue.queue_lock:
            if hasattr(sd_models, "forge_model_reload"):
                # Forge loads only for a picture.
                sd_models.forge_model_reload()
            return look(sd_models.model_data.sd_model)

    @app.get(f"{PREFIX}/memory")
    def held():
        with call_queue.queue_lock:
            return memory()

    @app.get(f"{PREFIX}/agreement")
    def agrees(prompt: str, side: int):
        # The session takes the queue itself.
        return agreement(prompt, side)

    @app.get(f"{PREFIX}/latents")
    def photo():
        return latents()

    @app.get(f"{PREFIX}/fit")
    def fits(name: str):
        with call_queue.queue_lock:
            return fit(name)

    @app.post(f"{PREFIX}/fail")
    def fail(body: dict = Body(...)):  # noqa: B008 - fastapi's way
        fail_at(int(body["step"]), body.get("kind", "error"))
        return {}


script_callbacks.on_app_started(add_routes)
