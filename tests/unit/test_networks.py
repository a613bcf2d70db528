"""Networks: exact parameter counts, shapes, initial weights, import paths and messages."""

import math

import pytest
import torch
from torch import Tensor, nn

from labelrepair.errors import ConfigError
from labelrepair.networks import available, build, cifar_resnet
from labelrepair.networks.text import EmbeddingOptions, _drop, _DroppedEmbedding

RGB, GREY, VECTOR, TOKENS = (3, 32, 32), (1, 28, 28), (784,), (400,)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def inputs(in_shape: tuple[int, ...], batch: int, name: str = "") -> Tensor:
    if name.startswith("embedding"):
        return torch.randint(0, 20, (batch, *in_shape))
    return torch.randn(batch, *in_shape)


@pytest.mark.parametrize(
    ("name", "in_shape", "num_classes", "options", "expected"),
    [
        ("mlp", GREY, 10, {}, 203_530),
        ("mlp", VECTOR, 10, {}, 203_530),
        ("mlp", VECTOR, 10, {"hidden": (128, 128), "dropout": 0.5}, 118_282),
        ("mlp", VECTOR, 10, {"hidden": []}, 7_850),
        ("cnn7", RGB, 10, {}, 518_150),
        ("cnn7", RGB, 100, {}, 541_280),
        ("preact_resnet32", RGB, 10, {}, 1_861_162),
        ("preact_resnet32", RGB, 10, {"stage1_projection": False}, 1_860_138),
        ("resnet14", RGB, 10, {}, 175_626),
        ("resnet32", RGB, 10, {}, 467_946),
        ("resnet44", RGB, 100, {}, 668_676),
        ("resnet14", RGB, 10, {"conv_bias": False}, 175_066),
        ("resnet32", RGB, 10, {"conv_bias": False}, 466_714),
        ("resnet44", RGB, 100, {"conv_bias": False}, 666_996),
        ("resnet18", RGB, 10, {}, 11_173_962),
        ("resnet18", GREY, 10, {}, 11_172_810),
        ("resnet34", RGB, 10, {}, 21_282_122),
        ("resnet34", RGB, 100, {}, 21_328_292),
        ("lenet", GREY, 10, {}, 422_090),
        ("lenet5", GREY, 10, {}, 61_706),
        ("embedding", TOKENS, 2, {}, 290_002),
        # Keras' 3 118 594 and 4 922 882, plus PyTorch's second LSTM bias of 2 048.
        ("embedding_lstm", TOKENS, 2, {}, 3_120_642),
        ("embedding_lstm", TOKENS, 2, {"embedding_size": 512}, 4_924_930),
    ],
)
def test_parameter_counts(name, in_shape, num_classes, options, expected):
    assert count(build(name, in_shape, num_classes, **options)) == expected


OTHERS = {"embedding", "embedding_lstm", "resnet18_imagenet", "resnet50_imagenet"}
IMAGE_NETWORKS = sorted(set(available()) - OTHERS)


def test_every_architecture_is_tested():
    assert len(available()) == 14
    assert len(IMAGE_NETWORKS) == 10


@pytest.mark.parametrize("in_shape", [RGB, GREY, (3, 8, 8), (1, 12, 9)])
@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_image_networks(name, in_shape):
    if name == "lenet5":
        in_shape = (in_shape[0], *(max(size, 12) for size in in_shape[1:]))
    network = build(name, in_shape, 7).eval()
    for batch in (1, 2, 5):
        with torch.no_grad():
            out = network(inputs(in_shape, batch))
        assert out.shape == (batch, 7)
        assert out.isfinite().all()
    network.train()
    network(inputs(in_shape, 2)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())  # nothing is left unconnected


@pytest.mark.parametrize("name", ["embedding", "embedding_lstm"])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_text_networks(name, batch):
    network = build(name, (6,), 3, vocabulary_size=20, embedding_size=8)
    out = network(inputs((6,), batch, name))
    assert out.shape == (batch, 3)
    out.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_mlp_of_vectors(batch):
    assert build("mlp", (5,), 3, hidden=(4,))(inputs((5,), batch)).shape == (batch, 3)


@pytest.mark.parametrize("name", ["mlp", "lenet", "preact_resnet32", "resnet14", "cnn7"])
def test_same_seed_same_weights(name):
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(build(name, (1, 8, 8), 3).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_dropout_acts_in_training_only():
    network, x = build("mlp", (5,), 3, hidden=(64,), dropout=0.5), torch.ones(1, 5)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def dropped(rectify, tokens, size, **options):
    """Return an embedding, what it gives in training, and what it looks up."""
    torch.manual_seed(0)
    embed = _DroppedEmbedding(EmbeddingOptions(500, size, 0.0, **options), rectify=rectify)
    looked_up = embed.embedding(tokens)
    looked_up = looked_up.relu() if rectify else looked_up
    out = embed(tokens)
    assert not torch.equal(out, embed(tokens))  # drawn anew for each batch
    assert torch.equal(embed.eval()(tokens), looked_up)
    return out, looked_up


@pytest.mark.parametrize("rectify", [True, False])
def test_spatial_dropout_drops_whole_channels(rectify):
    tokens = torch.randint(0, 20, (3, 6))
    out, looked_up = dropped(rectify, tokens, 200, spatial_dropout=0.8)
    kept = (out != 0).any(dim=1)  # (B, E): at no position is a channel zero that is kept
    assert 0.1 < kept.float().mean() < 0.3
    torch.testing.assert_close(out, looked_up * kept[:, None] / 0.2)


@pytest.mark.parametrize("rectify", [True, False])
def test_word_dropout_drops_a_word_wherever_it_stands(rectify):
    tokens = torch.randint(0, 500, (40, 50))
    out, looked_up = dropped(rectify, tokens, 8, word_dropout=0.8)
    words = tokens.unique()
    kept = torch.tensor([bool((out[tokens == word] != 0).any()) for word in words])
    assert 0.1 < kept.float().mean() < 0.3
    mask = torch.zeros(500, 1)
    mask[words[kept]] = 1 / 0.2
    torch.testing.assert_close(out, looked_up * mask[tokens])


def test_a_dropped_word_gets_no_gradient():
    torch.manual_seed(0)
    embed = _DroppedEmbedding(EmbeddingOptions(500, 8, embedding_dropout=0.0, word_dropout=0.5))
    tokens = torch.arange(500)[None]
    out = embed(tokens)
    out.sum().backward()
    kept = (out[0] != 0).any(dim=1)
    assert torch.equal(embed.embedding.weight.grad, kept[:, None].float().expand(500, 8) * 2)


def test_he_normal_weights_have_the_spread_of_their_inputs_and_no_bias():
    torch.manual_seed(0)
    network = build("mlp", (1, 28, 28), 10, hidden=(128, 128), init="he_normal")
    for layer in (module for module in network if isinstance(module, torch.nn.Linear)):
        wanted = (2 / layer.in_features) ** 0.5
        assert layer.weight.std().item() == pytest.approx(wanted, rel=0.05)
        assert layer.weight.abs().max() > 2 * wanted  # a uniform one ends at 1.73 of it
        assert (layer.bias == 0).all()


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_dropout_of_an_embedding_drops_values(probability):
    torch.manual_seed(0)
    embed = _DroppedEmbedding(EmbeddingOptions(20, 201, embedding_dropout=probability))
    tokens = torch.randint(0, 20, (31, 61))
    out, expected = embed(tokens), embed.embedding(tokens)
    dropped = out == 0
    spread = (probability * (1 - probability) / out.numel()) ** 0.5
    assert dropped.float().mean() == pytest.approx(probability, abs=4 * spread)
    for axis in range(3):  # no position, channel or text is favoured
        means = dropped.float().mean(dim=[a for a in range(3) if a != axis])
        assert means.sub(probability).abs().max() < 5 * spread * means.numel() ** 0.5
    assert not torch.equal(dropped, embed(tokens) == 0)
    torch.testing.assert_close(out, expected * ~dropped / (1 - probability))
    assert torch.equal(embed.eval()(tokens), expected)


def test_dropout_of_an_embedding_keeps_gradients_and_seeds():
    values = torch.randn(7, 5, 3, requires_grad=True)
    torch.manual_seed(1)
    once = _drop(values, 0.8)
    torch.manual_seed(1)
    again = _drop(values, 0.8)
    assert torch.equal(once, again)
    once.sum().backward()
    torch.testing.assert_close(values.grad, (once.detach() != 0) / 0.2)


def test_lstm_reads_the_last_state_and_starts_open():
    torch.manual_seed(0)
    network = build("embedding_lstm", (6,), 2, vocabulary_size=20, embedding_size=8).eval()
    tokens = torch.randint(0, 20, (1, 6))
    changed = tokens.clone()
    changed[0, -1] = (tokens[0, -1] + 1) % 20
    assert not torch.equal(network(tokens), network(changed))
    bias = (network.lstm.bias_ih_l0 + network.lstm.bias_hh_l0).detach()
    assert bias.tolist() == [0.0] * 512 + [1.0] * 512 + [0.0] * 1024
    recurrent = network.lstm.weight_hh_l0.detach()[:512]
    torch.testing.assert_close(recurrent @ recurrent.T, torch.eye(512), atol=1e-4, rtol=0)


def test_papers_initial_weights():
    torch.manual_seed(0)
    preact = build("preact_resnet32", RGB, 10)
    conv = preact.body[-3].conv2.weight
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    assert preact.dense.weight.std().item() == pytest.approx(math.sqrt(1 / 128), rel=0.1)
    assert {m.eps for m in preact.modules() if isinstance(m, nn.BatchNorm2d)} == {2e-5}
    small = build("resnet14", RGB, 10)
    assert small.dense.weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.1)
    assert small.conv.bias.abs().max() == 0
    output = build("embedding", TOKENS, 2)[-1].weight
    assert 0.049 < output.abs().max() <= 0.05
    output = build("embedding", TOKENS, 2, output_init="he_normal")[-1].weight
    assert output.std().item() == pytest.approx(math.sqrt(2 / output.shape[1]), rel=0.1)


def unit_by_hand(unit: nn.Module, x: Tensor, *, raw_shortcut: bool) -> Tensor:
    active = torch.relu(unit.bn1(x))
    out = unit.conv2(torch.relu(unit.bn2(unit.conv1(active))))
    return out + unit.shortcut(x if raw_shortcut else active)


def test_projection_shortcuts_start_where_the_papers_start_them():
    """Joint Optimization projects the activated input, loss correction the raw one."""
    x = torch.randn(2, 32, 8, 8)
    unit = build("preact_resnet32", RGB, 10).eval().body[0]
    torch.testing.assert_close(unit(x), unit_by_hand(unit, x, raw_shortcut=False))
    body = build("resnet14", RGB, 10).eval().body
    unit, x = body[4], torch.randn(2, 16, 8, 8)  # BN, ReLU, two units, then the second stage
    torch.testing.assert_close(unit(x), unit_by_hand(unit, x, raw_shortcut=True))
    assert unit(x).shape == (2, 32, 4, 4)
    assert body[2].bn1 is None
    assert body[3].shortcut is None


@pytest.mark.parametrize(("size", "pooled"), [(32, 4), (28, 4), (8, 1)])
def test_cifar_stem_keeps_the_size(size, pooled):
    network = build("resnet18", (3, size, size), 10).eval()
    shapes = []
    network.layer1.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    network.layer4.register_forward_hook(lambda _, args, out: shapes.append(out.shape))
    with torch.no_grad():
        network(inputs((3, size, size), 1))
    assert shapes == [(1, 64, size, size), (1, 512, pooled, pooled)]


def test_torchvision_is_imported_lazily():
    build("resnet18", RGB, 10)
    assert not hasattr(cifar_resnet, "torchvision")


def test_batch_norm_head():
    torch.manual_seed(0)
    plain = count(build("mlp", (5,), 3))
    network = build("mlp", (5,), 3, batch_norm_head=True)
    assert count(network) == plain + 6
    assert (network[-1].eps, network[-1].momentum) == (1e-3, 0.01)
    out = network(torch.randn(64, 5) * 100)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.nn.functional.cross_entropy(network(torch.randn(9, 5)), torch.arange(9) % 3).backward()
    *_, bias = network[0].parameters()
    assert torch.equal(bias.grad, torch.zeros(3)), "the normalisation takes any bias away"
    imported = build(
        "torch.nn:Linear", (5,), 3, batch_norm_head=True, in_features=5, out_features=3
    )
    assert isinstance(imported[-1], nn.BatchNorm1d)


# ---------------------------------------------------------------- import paths


class Full(nn.Module):
    def __init__(self, in_shape, num_classes, width=4):
        super().__init__()
        self.asked = (in_shape, num_classes, width)


class ClassesOnly(nn.Module):
    def __init__(self, *, num_classes):
        super().__init__()
        self.asked = num_classes


class Nothing(nn.Module):
    pass


class OpenEnded(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.asked = kwargs


def not_a_network():
    return 3


def raises_type_error(num_classes):
    return "a" + num_classes


def test_import_path_passes_what_the_signature_names():
    assert build(f"{__name__}:Full", RGB, 10).asked == (RGB, 10, 4)
    assert build(f"{__name__}.Full", list(RGB), 10, width=2).asked == (RGB, 10, 2)
    assert build(f"{__name__}:ClassesOnly", RGB, 10).asked == 10
    assert isinstance(build(f"{__name__}:Nothing", RGB, 10), Nothing)
    assert build(f"{__name__}:OpenEnded", RGB, 10, depth=3).asked == {"num_classes": 10, "depth": 3}


def test_import_path_of_torchvision():
    network = build("torchvision.models:squeezenet1_1", (3, 64, 64), 6).eval()
    assert network(inputs((3, 64, 64), 2)).shape == (2, 6)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (
            "no_such_package.nets:Net",
            {},
            "tried to import 'Net' from module 'no_such_package.nets'",
        ),
        ("torch.nn:Linaer", {}, "'Linaer' from module 'torch.nn': AttributeError"),
        ("torch.nn.Linaer", {}, "'Linaer' from module 'torch.nn': AttributeError"),
        (":Net", {}, "tried to import 'Net' from module ''"),
        ("torch.nn:", {}, "tried to import ''"),
        (f"{__name__}:RGB", {}, "expected a class or function, found"),
        (f"{__name__}:not_a_network", {}, "expected an nn.Module, found int"),
        (f"{__name__}:Full", {"widht": 3}, "unknown option 'widht'; did you mean 'width'"),
        (f"{__name__}:ClassesOnly", {"width": 3}, "unknown option 'width'; it takes no options"),
        (
            f"{__name__}:raises_type_error",
            {},
            r"called with \['num_classes'\], it raised TypeError",
        ),
        ("torch.nn:Linear", {"in_features": 3}, "it raised TypeError: .*out_features"),
    ],
)
def test_import_path_errors(path, options, message):
    with pytest.raises(ConfigError, match=message) as info:
        build(path, RGB, 10, **options)
    assert path in str(info.value)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "in_shape", "num_classes", "options", "message"),
    [
        ("resnet33", RGB, 10, {}, "unknown name 'resnet33'; did you mean 'resnet3"),
        ("vgg", RGB, 10, {}, "unknown name 'vgg'.*'package.module:Class'"),
        ("mlp", VECTOR, 10, {"hiden": (3,)}, "network mlp.hiden: unknown option; .*'hidden'"),
        ("cnn7", RGB, 10, {"dropout": 0.5}, "network cnn7.dropout: .*it takes no options"),
        ("mlp", VECTOR, 10, {"hidden": 128}, "network mlp.hidden: expected a list, found 128"),
        ("mlp", VECTOR, 10, {"hidden": (128, 0)}, "network mlp.hidden: must be positive"),
        ("mlp", VECTOR, 10, {"dropout": 1.0}, r"network mlp.dropout: must lie in \[0, 1\)"),
        ("embedding", TOKENS, 2, {"vocabulary_size": 0}, "vocabulary_size: must be greater than 0"),
        ("embedding", TOKENS, 2, {"spatial_dropout": -0.1}, "spatial_dropout: must lie in"),
        ("embedding", TOKENS, 2, {"embedding_dropout": 1.0}, "embedding_dropout: must lie in"),
        ("embedding", TOKENS, 2, {"word_dropout": 1.0}, "word_dropout: must lie in"),
        ("mlp", VECTOR, 10, {"init": "he"}, "init: unknown value 'he'"),
        ("embedding", TOKENS, 2, {"output_init": "zeros"}, "output_init: unknown value 'zeros'"),
        ("embedding_lstm", TOKENS, 2, {"hidden_size": 0}, "hidden_size: must be greater than 0"),
        ("embedding_lstm", TOKENS, 2, {"dropout": 2.0}, "dropout: must lie in"),
        ("preact_resnet32", RGB, 10, {"stage1_projection": 1}, "expected bool, found 1"),
        ("mlp", VECTOR, 1, {}, "num_classes: must be at least 2, found 1"),
        ("mlp", (), 10, {}, r"in_shape: expected positive sizes, found \(\)"),
        ("mlp", (3, 0, 3), 10, {}, "in_shape: expected positive sizes"),
        ("cnn7", VECTOR, 10, {}, r"in_shape: .*\(channels, height, width\).*found \(784,\)"),
        ("cnn7", (3, 7, 32), 10, {}, r"at least 8x8 pixels, found \(3, 7, 32\)"),
        ("lenet", (1, 3, 3), 10, {}, "at least 4x4 pixels"),
        ("lenet5", (1, 11, 12), 10, {}, "at least 12x12 pixels"),
        ("resnet18", VECTOR, 10, {}, "takes images"),
        ("embedding", RGB, 2, {}, r"takes token ids \(length,\), found \(3, 32, 32\)"),
        ("embedding_lstm", RGB, 2, {}, "takes token ids"),
    ],
)
def test_errors(name, in_shape, num_classes, options, message):
    with pytest.raises(ConfigError, match=message):
        build(name, in_shape, num_classes, **options)


def test_imagenet_networks_get_a_fresh_last_layer():
    """Torchvision's counts for 1,000 classes, less the head's: 11,176,512 and 23,508,032."""
    for name, body, width in (("resnet18", 11_176_512, 512), ("resnet50", 23_508_032, 2048)):
        network = build(f"{name}_imagenet", (3, 64, 64), 14)
        assert sum(p.numel() for p in network.parameters()) == body + 14 * (width + 1)
        assert network.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 14)


@pytest.mark.parametrize(
    ("shape", "weights", "message"),
    [((1, 64, 64), None, "needs RGB"), ((3, 64, 64), "IMAGENET9K", "no 'IMAGENET9K' of resnet18")],
)
def test_imagenet_networks_refuse(shape, weights, message):
    with pytest.raises(ConfigError, match=message):
        build("resnet18_imagenet", shape, 14, weights=weights)
