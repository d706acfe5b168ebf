import contextlib
import functools
import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from starlette.testclient import TestClient

import omniup
from omniup.errors import MissingPackageError
from omniup.upsamplers import SIGNAL_TYPES
from omniup.web import Settings, create_app, schemas
from support.demo import SMALL, encoded, noise, npy, run, upsample

# starlette leaves the files of parts that are cut short to be closed when they are collected
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

OPERATIONS = [
    ("/api/run", "POST"),
    ("/api/compare", "POST"),
    ("/api/features", "POST"),
    ("/api/similarities", "POST"),
    ("/api/mask", "POST"),
    ("/api/progress/{run_id}", "GET"),
    ("/api/runs/{run_id}", "DELETE"),
    ("/api/runs/{run_id}/files/{name}", "GET"),
    ("/api/similarity", "POST"),
    ("/api/recognise", "POST"),
    ("/api/upsample", "POST"),
    ("/api/restore", "POST"),
    ("/api/segmentation/example", "GET"),
    ("/api/options", "GET"),
    ("/api/health", "GET"),
    ("/api/samples/{name}", "GET"),
]
FORMS = (
    *("/api/run", "/api/compare", "/api/features", "/api/mask"),
    *("/api/recognise", "/api/upsample", "/api/restore"),
)
PICTURE = encoded(noise(20, 30))
LOW = npy([[1.0, 2], [3, 4]])
FILES = st.sampled_from([*6 * [PICTURE], encoded(noise(33, 65), "JPEG"), PICTURE[:500], b"text", b""])
SIGNALS = st.sampled_from([*3 * [LOW], encoded(noise(4, 6)), encoded(noise(4, 6).quantize(4)), b"text"])


@pytest.fixture(scope="module")
def client():
    """A server in this process, whose exceptions are raised here."""
    with TestClient(create_app(Settings(hosts=(), patience=0, offline=True))) as client:
        # Hypothesis draws constants of the modules that are there: what is imported later would change its examples.
        with contextlib.suppress(MissingPackageError):
            client.app.state.service.restoration.load("cpu")
        client.get("/api/segmentation/example")
        upsample(client, PICTURE, LOW)
        yield client


@pytest.fixture(scope="module")
def api(client):
    """The server as schemathesis sees it, which is to leave its beginning and its end to `client`."""

    async def begun(scope, receive, send):
        if scope["type"] == "lifespan":
            for message in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{message}.complete"})
        else:
            await client.app(scope, receive, send)

    return schemathesis.openapi.from_asgi("/openapi.json", begun)


@pytest.fixture(scope="module")
def document(client):
    return client.get("/openapi.json").json()


@pytest.fixture(scope="module")
def known(client):
    """Runs that are kept, with pictures inside and beside the answer; and the features of two photographs."""
    runs = [run(client, PICTURE, **SMALL, return_files=files) for files in (False, True)]
    both = client.post("/api/features", files={"image": PICTURE, "other": PICTURE}, data={"config": '{"size": 64}'})
    return [*runs, both.json() | {"files": {}}]


@functools.cache
def run_settings():
    """Settings of a run that is soon over, and some that are refused."""
    return st.fixed_dictionaries(
        {"size": st.integers(64, 80), "iters": st.integers(0, 3)},
        optional={
            "preset": st.sampled_from(["spec", "paper"]),
            "shape": st.sampled_from(["square", "keep"]),
            "stride": st.integers(4, 64),
            "radius": st.integers(1, 9),
            "lr": st.floats(1e-6, 1.05),
            "sigma": st.floats(1, 64),
            "sigma_r": st.floats(0.01, 1),
            "extractor": st.sampled_from(["fake", "projection"]),
            "channels": st.integers(1, 128),
            "device": st.sampled_from(["auto", "cpu"]),
            "segmentation": st.booleans(),
            "return_files": st.booleans(),
        },
    )


@functools.cache
def upsample_settings():
    return st.one_of(
        st.fixed_dictionaries(
            {"method": st.sampled_from(sorted(set(omniup.methods()) - {"upsample_anything", "anyup"}))},
            optional={
                "labels": st.none() | st.booleans(),
                "signal_type": st.sampled_from(["auto", *SIGNAL_TYPES]),
                "settings": st.just({"radius": 1}),
            },
        ),
        st.fixed_dictionaries(
            {
                "method": st.just("upsample_anything"),
                "settings": st.fixed_dictionaries({"iterations": st.integers(0, 3) | st.just(-1)}),
            }
        ),
    )


@functools.cache
def restore_settings():
    """Mostly of a single tile."""
    return st.fixed_dictionaries(
        {"scale": st.floats(1, 2)},
        optional={
            "strength": st.floats(-0.5, 11),
            "deblur": st.floats(-0.5, 11),
            "prompt": st.text(max_size=20),
            "tile": st.sampled_from([None, 32, 128]),
            "seed": st.integers(0, 2**32),
            "colour": st.sampled_from(["wavelet", "adain", "none", "sepia"]),
        },
    )


@functools.cache
def compare_settings():
    """Some methods, few of them fitted."""
    return st.fixed_dictionaries(
        {"size": st.integers(64, 80), "methods": st.lists(upsample_settings().map(named), min_size=1, max_size=3)},
        optional={"shape": st.sampled_from(["square", "keep"]), "stride": st.integers(4, 64)},
    )


@functools.cache
def features_settings():
    """Of small photographs, by an encoder that needs no weights."""
    return st.fixed_dictionaries(
        {"size": st.integers(64, 80), "stride": st.integers(8, 64)},
        optional={
            "shape": st.sampled_from(["square", "keep"]),
            "extractor": st.sampled_from(["fake", "projection"]),
            "channels": st.integers(1, 128),
            "segments": st.integers(1, 24),
        },
    )


@functools.cache
def mask_settings():
    return st.fixed_dictionaries(
        {"size": st.integers(64, 80)},
        optional={"shape": st.sampled_from(["square", "keep"]), "stride": st.integers(4, 64)},
    )


def named(config):
    """A method's name and settings, of those of an upsampling."""
    return {name: config[name] for name in ("method", "settings") if name in config}


SETTINGS = {
    "/api/run": run_settings,
    "/api/compare": compare_settings,
    "/api/features": features_settings,
    "/api/mask": mask_settings,
    "/api/recognise": upsample_settings,
    "/api/upsample": upsample_settings,
    "/api/restore": restore_settings,
}


def make_useful(case, path, data, client, known):
    """Have most of the requests reach what they are for: real pictures, known runs."""
    if path in FORMS and isinstance(case.body, dict) and data.draw(st.integers(0, 3)):
        if "image" in case.body:
            case.body["image"] = data.draw(FILES)
        for name in ("other", "mask"):
            if name in case.body:
                case.body[name] = data.draw(FILES)
        if "signal" in case.body:
            case.body["signal"] = data.draw(SIGNALS)
        case.body["config"] = json.dumps(data.draw(SETTINGS[path]()))
    answer = data.draw(st.sampled_from(known))
    if "run_id" in case.path_parameters and case.method == "GET" and data.draw(st.integers(0, 3)):
        case.path_parameters["run_id"] = answer["run_id"]
    if case.method == "DELETE" and data.draw(st.booleans()):
        case.path_parameters["run_id"] = upsample(client, PICTURE, LOW, method="nearest")["run_id"]
    if path.endswith("/files/{name}") and data.draw(st.integers(0, 3)):
        case.path_parameters["name"] = data.draw(st.sampled_from(sorted(answer["files"]) or ["none"]))
    if path == "/api/samples/{name}" and data.draw(st.booleans()):
        case.path_parameters["name"] = "coffee"
    if (
        path in ("/api/similarity", "/api/similarities")
        and isinstance(case.body, dict)
        and data.draw(st.integers(0, 3))
    ):
        case.body["run_id"] = answer["run_id"]
        if data.draw(st.booleans()):
            case.body |= {"x": data.draw(st.integers(0, 70)), "y": data.draw(st.integers(0, 70))}


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda part: part)
@settings(max_examples=settings.default.max_examples // 2, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_server_does_as_its_document_says(client, api, known, path, method, data):
    mode = data.draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    operation = api[path][method]
    if mode is GenerationMode.NEGATIVE and "{" not in path and method == "GET":
        mode = GenerationMode.POSITIVE  # there is nothing to get wrong
    case = data.draw(operation.as_strategy(mode))
    make_useful(case, path, data, client, known)
    checks = schemathesis.checks
    left_out = [
        # what is wrong with a picture no document tells
        checks.positive_data_acceptance,
        checks.negative_data_rejection,
        # the runs that were drawn above are not of its making
        checks.use_after_free,
        checks.ensure_resource_availability,
    ]
    case.call_and_validate(excluded_checks=left_out)


def test_every_operation_is_tested(document):
    found = {(path, method.upper()) for path, operations in document["paths"].items() for method in operations}
    assert found == set(OPERATIONS)


def test_the_document_is_valid(api):
    api.validate()


def test_every_operation_says_what_it_is_for_and_how_it_refuses(document):
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            assert operation["tags"], path
            answers = operation["responses"]
            assert "403" in answers
            assert all(answer["description"] for answer in answers.values()), path
            if "requestBody" in operation:
                assert {"400", "413", "422"} <= answers.keys(), path
            for parameter in operation.get("parameters", ()):
                assert parameter["schema"], path


@pytest.mark.parametrize(
    "name",
    [
        "RunConfig",
        "CompareConfig",
        "FeaturesConfig",
        "MaskConfig",
        "UpsampleConfig",
        "RestoreConfig",
        "SimilarityRequest",
        "SimilaritiesRequest",
    ],
)
def test_requests_are_described_and_have_examples(document, name):
    described = document["components"]["schemas"][name]
    assert described["description"]
    assert described["examples"]
    model = getattr(schemas, name)
    for example in described["examples"]:
        assert model.model_validate(example)
    assert described["additionalProperties"] is False
    assert [field for field, about in described["properties"].items() if not about.get("description")] == []


def test_bounds_are_told(document):
    fields = document["components"]["schemas"]["RunConfig"]["properties"]
    for name, (low, high) in {"size": (64, 1024), "stride": (4, 64), "channels": (1, 128), "sigma": (1, 64)}.items():
        assert (fields[name]["minimum"], fields[name]["maximum"]) == (low, high)
        assert "default" in fields[name]
    for name, (low, high) in {"iters": (0, 100), "radius": (1, 8)}.items():
        (number,) = (option for option in fields[name]["anyOf"] if option["type"] != "null")
        assert (number["minimum"], number["maximum"]) == (low, high)


def test_forms_refer_to_the_models_of_their_config(document):
    models = (
        *("RunConfig", "CompareConfig", "FeaturesConfig", "MaskConfig"),
        *("UpsampleConfig", "UpsampleConfig", "RestoreConfig"),
    )
    for path, model in zip(FORMS, models, strict=True):
        body = document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        form = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
        assert f"#/components/schemas/{model}" in json.dumps(form["properties"]["config"])
        for example in form["properties"]["config"]["examples"]:
            assert getattr(schemas, model).model_validate_json(example)


def test_the_document_names_no_other_host(client):
    document = client.get("/openapi.json").text
    assert "http://" not in document
    assert "https://" not in document
