"""The models of the zoo study, by name: what is built, with random weights, and what it is called with.

Pictures are small where the architecture allows it, and language models have two narrow layers: what a tracer meets is the
same, only faster. A name is ``torchvision:...``, ``timm:...``, ``transformers:...`` or ``own:...``.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Built = tuple[nn.Module, tuple[Any, ...]]


def build_model(name: str) -> Built:
    """A model in evaluation mode and its example inputs; the same numbers every time.

    Args:
        name: One of :func:`list_zoo`.
    """
    torch.manual_seed(0)
    model, inputs = _ZOO[name]()
    scramble(model)
    return model.eval(), inputs


def list_zoo() -> list[str]:
    """Every name, family by family."""
    return list(_ZOO)


def scramble(model: nn.Module) -> None:
    """Random values where a fresh model has constants: a head of zeros would hide every mistake."""
    from nasc.testing.architectures import scramble_norms

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(0.1 * torch.randn_like(parameter))
    scramble_norms(model)


def _picture(size: int = 64, channels: int = 3, batch: int = 2) -> tuple[Tensor, ...]:
    return (torch.randn(batch, channels, size, size),)


# -- torchvision -------------------------------------------------------------------------------------------------------

_TV_PICTURES = """
    alexnet vgg11 vgg11_bn resnet18 resnet50 resnext50_32x4d wide_resnet50_2 squeezenet1_1 densenet121
    mobilenet_v2 mobilenet_v3_small mobilenet_v3_large mnasnet0_5 shufflenet_v2_x0_5 shufflenet_v2_x1_0
    efficientnet_b0 efficientnet_v2_s regnet_x_400mf regnet_y_400mf convnext_tiny swin_t swin_v2_t
"""
_TV_SEGMENTATION = "fcn_resnet50 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large"
_TV_VIDEO = "r3d_18 mc3_18 r2plus1d_18 swin3d_t"
_TV_DETECTION = """
    fasterrcnn_mobilenet_v3_large_320_fpn retinanet_resnet50_fpn fcos_resnet50_fpn ssdlite320_mobilenet_v3_large
"""


def _torchvision(name: str, inputs: Callable[[], tuple[Any, ...]] = _picture, **options: Any) -> Built:
    from nasc.models.torchvision import import_torchvision

    return import_torchvision().models.get_model(name, weights=None, **options), inputs()


class DetectorBeforeBoxes(nn.Module):
    """A detector up to its raw scores and boxes; what follows (anchors, suppression) has no sizes to prune."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.rpn.head if hasattr(detector, "rpn") else detector.head

    def forward(self, x: Tensor) -> Any:
        """Raw predictions for pictures ``(batch, 3, height, width)``."""
        return self.head(list(self.backbone(x).values()))


def _detector(name: str) -> Built:
    model, _ = _torchvision(name, weights_backbone=None)
    return DetectorBeforeBoxes(model), _picture(128)


# -- timm --------------------------------------------------------------------------------------------------------------

_TIMM_64 = """
    resnet10t seresnext26d_32x4d ecaresnet26t skresnet18 resnest14d res2net50_26w_4s dla34 hrnet_w18_small
    ese_vovnet19b_dw cspdarknet53 dpn48b ghostnet_100 ghostnetv2_100 hardcorenas_a mixnet_s
    mobilenetv3_small_050 mobilenetv4_conv_small efficientnet_lite0 tf_efficientnetv2_b0 fbnetc_100 rexnet_100
    tinynet_e lcnet_050 nf_regnet_b0 nf_resnet26 inception_next_atto selecsls42b repvgg_a0 repghostnet_050
    mobileone_s0 fastvit_t8 repvit_m0_9 convnext_atto convnextv2_atto edgenext_xx_small mobilevit_xxs
    mobilevitv2_050 poolformer_s12 caformer_s18 pvt_v2_b0 regnetz_005 starnet_s1 lambda_resnet26t hgnetv2_b0
    mambaout_femto fasternet_t0 resnetv2_50 resnet26t gernet_s efficientvit_b0 swiftformer_xs shvit_s1
    rdnet_tiny
"""
_TIMM_OWN_SIZE = """
    deit_tiny_patch16_224 vit_tiny_patch16_224 cait_xxs24_224 crossvit_tiny_240 convit_tiny
    eva02_tiny_patch14_224 davit_tiny efficientformer_l1 efficientformerv2_s0 efficientvit_m0 focalnet_tiny_srf
    gcvit_xxtiny gmlp_ti16_224 mixer_s32_224 resmlp_12_224 levit_128s halonet26t botnet26t_256
    maxvit_rmlp_pico_rw_256 mvitv2_tiny nest_tiny pit_ti_224 sequencer2d_s tiny_vit_5m_224 tnt_s_patch16_224
    twins_svt_small twins_pcpvt_small visformer_tiny volo_d1_224 xcit_nano_12_p16_224 bat_resnext26ts
    haloregnetz_b coat_tiny coatnet_0_rw_224 vit_relpos_small_patch16_224 legacy_xception beit_base_patch16_224
"""


def _timm(name: str, size: int | None = None) -> Built:
    from nasc.models.torchvision import import_torchvision

    import_torchvision()
    timm = importlib.import_module("timm")
    model = timm.create_model(name, pretrained=False)
    return model, _picture(size or model.pretrained_cfg["input_size"][-1])


# -- transformers ------------------------------------------------------------------------------------------------------

_VOCABULARY = 99
_TINY: Mapping[str, Any] = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}


@dataclass(frozen=True)
class _Recipe:
    """A transformers model: its class, changes to the tiny configuration, and what it is called with."""

    model: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    inputs: str = "ids"
    plain: bool = False
    """Only the changes, not the tiny configuration of a language model."""


class FirstOutput(nn.Module):
    """A transformers model as a function of tensors, given by position, to its first output."""

    def __init__(self, model: nn.Module, *names: str) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, first: Tensor, second: Tensor | None = None) -> Any:
        """The scores of the model, or its first output where it has no scores."""
        given = {self.names[0]: first} if second is None else dict(zip(self.names, (first, second), strict=True))
        outputs = self.model(**given)
        return outputs.logits if getattr(outputs, "logits", None) is not None else outputs[0]


class Similarity(nn.Module):
    """A two-tower model as a function of ids and a picture to its similarities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, picture: Tensor) -> Any:
        """Projected features of both towers."""
        outputs = self.model(input_ids=ids, pixel_values=picture)
        return outputs.text_embeds, outputs.image_embeds


def _ids(length: int = 12) -> Tensor:
    return torch.randint(1, _VOCABULARY, (2, length))


_CALLS: Mapping[str, tuple[tuple[str, ...], Callable[[], tuple[Any, ...]]]] = {
    "ids": (("input_ids",), lambda: (_ids(),)),
    "two ids": (("input_ids", "decoder_input_ids"), lambda: (_ids(), _ids(8))),
    "ids and mask": (
        ("input_ids", "attention_mask"),
        lambda: (_ids(), torch.tensor([[1] * 12, [1] * 9 + [0] * 3])),
    ),
    "pixels": (("pixel_values",), lambda: _picture(64)),
    "pixels 128": (("pixel_values",), lambda: _picture(128)),
    "sound": (("input_values",), lambda: (torch.randn(2, 1600),)),
    "spectrum": (("input_values",), lambda: (torch.randn(2, 64, 32),)),
    "features": (("input_features", "decoder_input_ids"), lambda: (torch.randn(2, 16, 64), _ids(6))),
    "pair": ((), lambda: (_ids(), *_picture(64))),
}
_GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
_SEQUENCE = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
    "max_position_embeddings": 64,
}
_CONV_SOUND = {
    "conv_dim": (32, 32, 32),
    "conv_stride": (5, 4, 4),
    "conv_kernel": (10, 4, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 32,
}
_VIT = {"image_size": 64, "patch_size": 8}
_GROUPED = {"num_key_value_heads": 2}

_RECIPES: Mapping[str, _Recipe] = {
    "bert": _Recipe("BertForSequenceClassification", inputs="ids and mask"),
    "bert-mlm": _Recipe("BertForMaskedLM"),
    "roberta": _Recipe("RobertaForSequenceClassification", {"pad_token_id": 1}),
    "distilbert": _Recipe(
        "DistilBertForSequenceClassification", {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 96}
    ),
    "albert": _Recipe("AlbertForSequenceClassification", {"embedding_size": 32}),
    "electra": _Recipe("ElectraForSequenceClassification", {"embedding_size": 32}),
    "deberta": _Recipe(
        "DebertaForSequenceClassification", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
    ),
    "deberta-v2": _Recipe(
        "DebertaV2ForSequenceClassification", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
    ),
    "mobilebert": _Recipe(
        "MobileBertForSequenceClassification",
        {"embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    ),
    "squeezebert": _Recipe("SqueezeBertForSequenceClassification", {"embedding_size": 64}),
    "mpnet": _Recipe("MPNetForSequenceClassification", {"pad_token_id": 1}),
    "convbert": _Recipe("ConvBertForSequenceClassification", {"embedding_size": 64}),
    "fnet": _Recipe("FNetForSequenceClassification"),
    "roformer": _Recipe("RoFormerForSequenceClassification", {"embedding_size": 64}),
    "xlnet": _Recipe("XLNetForSequenceClassification", {"d_model": 64, "n_layer": 2, "n_head": 4, "d_inner": 96}),
    "gpt2": _Recipe("GPT2LMHeadModel", _GPT),
    "gpt-neo": _Recipe(
        "GPTNeoForCausalLM",
        {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 64},
    ),
    "gpt-neox": _Recipe("GPTNeoXForCausalLM"),
    "gptj": _Recipe("GPTJForCausalLM", {**_GPT, "rotary_dim": 8}),
    "opt": _Recipe("OPTForCausalLM", {"ffn_dim": 96, "word_embed_proj_dim": 64, "pad_token_id": 1}),
    "bloom": _Recipe("BloomForCausalLM", {"n_layer": 2, "n_head": 4}),
    "falcon": _Recipe("FalconForCausalLM"),
    "llama": _Recipe("LlamaForCausalLM", _GROUPED),
    "mistral": _Recipe("MistralForCausalLM", _GROUPED),
    "qwen2": _Recipe("Qwen2ForCausalLM", _GROUPED),
    "qwen3": _Recipe("Qwen3ForCausalLM", {**_GROUPED, "head_dim": 16}),
    "gemma": _Recipe("GemmaForCausalLM", {**_GROUPED, "head_dim": 16}),
    "gemma2": _Recipe("Gemma2ForCausalLM", {**_GROUPED, "head_dim": 16}),
    "phi": _Recipe("PhiForCausalLM"),
    "phi3": _Recipe("Phi3ForCausalLM", _GROUPED),
    "stablelm": _Recipe("StableLmForCausalLM", _GROUPED),
    "starcoder2": _Recipe("Starcoder2ForCausalLM", _GROUPED),
    "olmo2": _Recipe("Olmo2ForCausalLM", _GROUPED),
    "cohere": _Recipe("CohereForCausalLM", _GROUPED),
    "codegen": _Recipe("CodeGenForCausalLM", {**_GPT, "rotary_dim": 8}),
    "biogpt": _Recipe("BioGptForCausalLM", {"max_position_embeddings": 64}),
    "mixtral": _Recipe("MixtralForCausalLM", {**_GROUPED, "num_local_experts": 4}),
    "t5": _Recipe(
        "T5ForConditionalGeneration",
        {"d_model": 64, "d_ff": 96, "d_kv": 16, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0},
        "two ids",
    ),
    "t5-gated": _Recipe(
        "T5ForConditionalGeneration",
        {
            "d_model": 64,
            "d_ff": 96,
            "d_kv": 16,
            "num_layers": 2,
            "num_heads": 4,
            "decoder_start_token_id": 0,
            "feed_forward_proj": "gated-gelu",
        },
        "two ids",
    ),
    "bart": _Recipe("BartForConditionalGeneration", _SEQUENCE, "two ids"),
    "pegasus": _Recipe("PegasusForConditionalGeneration", _SEQUENCE, "two ids"),
    "vit": _Recipe("ViTForImageClassification", _VIT, "pixels"),
    "deit": _Recipe("DeiTForImageClassification", _VIT, "pixels"),
    "beit": _Recipe("BeitForImageClassification", _VIT | {"use_relative_position_bias": True}, "pixels"),
    "dinov2": _Recipe("Dinov2ForImageClassification", _VIT, "pixels"),
    "swin": _Recipe(
        "SwinForImageClassification",
        {"image_size": 64, "patch_size": 4, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        "pixels",
        plain=True,
    ),
    "swinv2": _Recipe(
        "Swinv2ForImageClassification",
        {"image_size": 64, "patch_size": 4, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        "pixels",
        plain=True,
    ),
    "convnext": _Recipe(
        "ConvNextForImageClassification",
        {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]},
        "pixels",
        plain=True,
    ),
    "segformer": _Recipe("SegformerForSemanticSegmentation", {}, "pixels", plain=True),
    "mobilevit": _Recipe("MobileViTForImageClassification", {"image_size": 64}, "pixels", plain=True),
    "resnet": _Recipe(
        "ResNetForImageClassification",
        {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1], "embedding_size": 16},
        "pixels",
        plain=True,
    ),
    "pvt": _Recipe("PvtForImageClassification", {"image_size": 64}, "pixels", plain=True),
    "levit": _Recipe("LevitForImageClassification", {"image_size": 64}, "pixels", plain=True),
    "cvt": _Recipe("CvtForImageClassification", {"depth": [1, 2, 3]}, "pixels", plain=True),
    "yolos": _Recipe("YolosForObjectDetection", {**_VIT, "num_detection_tokens": 10, "image_size": [64, 64]}, "pixels"),
    "clip": _Recipe(
        "CLIPModel",
        {
            "projection_dim": 32,
            "text_config": {k: v for k, v in _TINY.items() if k != "use_cache"}
            | {"eos_token_id": 2, "bos_token_id": 1},
            "vision_config": {
                "hidden_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 96,
                **_VIT,
            },
        },
        "pair",
        plain=True,
    ),
    "wav2vec2": _Recipe("Wav2Vec2ForSequenceClassification", _CONV_SOUND, "sound"),
    "hubert": _Recipe("HubertForSequenceClassification", _CONV_SOUND, "sound"),
    "ast": _Recipe(
        "ASTForAudioClassification",
        {"num_mel_bins": 32, "max_length": 64, "patch_size": 8, "time_stride": 8, "frequency_stride": 8},
        "spectrum",
    ),
    "whisper": _Recipe(
        "WhisperForConditionalGeneration",
        {**_SEQUENCE, "num_mel_bins": 16, "max_source_positions": 32, "max_target_positions": 32},
        "features",
    ),
}


def _transformers(recipe: _Recipe) -> Built:
    from nasc.models.torchvision import import_torchvision

    import_torchvision()  # transformers imports it when it is installed
    model_class = getattr(importlib.import_module("transformers"), recipe.model)
    config = (
        model_class.config_class(**({} if recipe.plain else _TINY), **recipe.changes)
        if recipe.plain
        else (model_class.config_class(**{**_TINY, **recipe.changes}))
    )
    names, inputs = _CALLS[recipe.inputs]
    model = model_class(config)
    return (FirstOutput(model, *names) if names else Similarity(model)), inputs()


# -- our own hard cases ------------------------------------------------------------------------------------------------


def _own(name: str) -> Built:
    from nasc.testing.architectures import build

    return build(name)


class DeepResidual(nn.Module):
    """Three hundred layers: what a walk costs on a long program."""

    def __init__(self, blocks: int = 150, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 1),
            )
            for _ in range(blocks)
        )
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(batch, 10)``."""
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))


def _own_names() -> list[str]:
    from nasc.testing.architectures import ARCHITECTURES

    return list(ARCHITECTURES)


_ZOO: dict[str, Callable[[], Built]] = {
    **{f"own:{name}": partial(_own, name) for name in _own_names()},
    "own:three hundred layers": lambda: (DeepResidual(), _picture(8)),
    **{f"torchvision:{name}": partial(_torchvision, name) for name in _TV_PICTURES.split()},
    "torchvision:googlenet": partial(_torchvision, "googlenet", init_weights=False),
    "torchvision:inception_v3": partial(_torchvision, "inception_v3", lambda: _picture(96), init_weights=False),
    "torchvision:vit_b_16": partial(_torchvision, "vit_b_16", image_size=64),
    "torchvision:maxvit_t": partial(_torchvision, "maxvit_t", lambda: _picture(224)),
    **{f"torchvision:{name}": partial(_torchvision, name, weights_backbone=None) for name in _TV_SEGMENTATION.split()},
    **{
        f"torchvision:{name}": partial(_torchvision, name, lambda: (torch.randn(1, 3, 16, 64, 64),))
        for name in _TV_VIDEO.split()
    },
    "torchvision:s3d": partial(_torchvision, "s3d", lambda: (torch.randn(1, 3, 16, 224, 224),)),
    "torchvision:mvit_v1_b": partial(_torchvision, "mvit_v1_b", lambda: (torch.randn(1, 3, 16, 224, 224),)),
    "torchvision:raft_small": partial(
        _torchvision, "raft_small", lambda: (*_picture(128, batch=1), *_picture(128, batch=1))
    ),
    **{f"torchvision:{name}": partial(_detector, name) for name in _TV_DETECTION.split()},
    **{f"timm:{name}": partial(_timm, name, 64) for name in _TIMM_64.split()},
    **{f"timm:{name}": partial(_timm, name) for name in _TIMM_OWN_SIZE.split()},
    **{f"transformers:{name}": partial(_transformers, recipe) for name, recipe in _RECIPES.items()},
}
