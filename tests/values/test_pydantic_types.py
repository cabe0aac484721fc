"""Every type that pydantic has for values can be stored; a new one fails here until decided on."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

import pydantic
import pydantic.color
import pydantic.networks
import pydantic.types
import pydantic.v1
import pydantic.v1.color
import pydantic.v1.networks
import pydantic.v1.types
import pydantic_core
import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, UrlConstraints

from values.comparing import same
from wren_sessions import PlainObject, PlainSerializer, SafeSerializer
from wren_sessions.errors import SerializationError, UnsafeTypeError

CARD: Final = "4242424242424242"
UUIDS: Final = {n: f"a8098c1a-f86e-{n}1da-8d1a-00112444be1e" for n in (1, 3, 4, 5, 6, 7, 8)}

# Of each type, what it is validated from.
VALUES: Final[dict[str, Sequence[Any]]] = {
    "AnyUrl": ["https://a/", "mailto:x@y.z", "file:///a/b", "data:text/plain,hi"],
    "AnyHttpUrl": ["http://a:81/b?c=d#e"],
    "HttpUrl": ["https://example.org", "https://ann:pw@bücher.example/%20?a=b&a=c#d"],
    "FileUrl": ["file:///a/b"],
    "FtpUrl": ["ftp://a/b"],
    "WebsocketUrl": ["wss://a/b"],
    "AnyWebsocketUrl": ["ws://a/b"],
    "PostgresDsn": ["postgresql://u:p@h:1/db", "postgresql://a@one:1,two:2/db"],
    "CockroachDsn": ["cockroachdb://u@h:1/db"],
    "AmqpDsn": ["amqp://u:p@h:1/v"],
    "RedisDsn": ["redis://h", "rediss://:p@h:1/2"],
    "MongoDsn": ["mongodb://u:p@one:1,two:2/db"],
    "KafkaDsn": ["kafka://h"],
    "NatsDsn": ["nats://one:1,two:2"],
    "MySQLDsn": ["mysql://u:p@h:1/db"],
    "MariaDBDsn": ["mariadb://u:p@h:1/db"],
    "ClickHouseDsn": ["clickhouse://u:p@h:1/db"],
    "SnowflakeDsn": ["snowflake://u:p@h/db"],
    "Url": [pydantic_core.Url("https://a/b")],
    "MultiHostUrl": [pydantic_core.MultiHostUrl("https://a:1,b:2/c")],
    "NameEmail": [pydantic.NameEmail("Ann", "ann@example.org")],
    "IPvAnyAddress": ["10.0.0.1", "::1"],
    "IPvAnyInterface": ["10.0.0.1/8"],
    "IPvAnyNetwork": ["10.0.0.0/8"],
    "Secret": [pydantic.Secret(5), pydantic.Secret([1])],
    "SecretStr": ["hush"],
    "SecretBytes": [b"hush"],
    "ByteSize": ["1 kb", 2**80],
    "PaymentCardNumber": [CARD],
    "Color": ["red", (1, 2, 3), (1, 2, 3, 0.5)],
    "RGBA": [pydantic.color.RGBA(0.1, 0.2, 0.3, None)],
    "Json": ['{"a": [1]}'],
    "JsonValue": [{"a": [1, None]}],
    **{f"UUID{n}": [text] for n, text in UUIDS.items()},
    **dict.fromkeys(("FilePath", "DirectoryPath", "NewPath", "SocketPath"), ()),  # plain paths
    **dict.fromkeys(("StrictStr", "Base64Str", "Base64UrlStr"), ("YWI=",)),
    **dict.fromkeys(("StrictBytes", "Base64Bytes", "Base64UrlBytes"), (b"YWI=",)),
    **dict.fromkeys(("StrictInt", "PositiveInt", "NonNegativeInt"), (1,)),
    **dict.fromkeys(("NegativeInt", "NonPositiveInt"), (-1,)),
    **dict.fromkeys(("StrictFloat", "PositiveFloat", "NonNegativeFloat", "FiniteFloat"), (1.5,)),
    **dict.fromkeys(("NegativeFloat", "NonPositiveFloat"), (-1.5,)),
    "StrictBool": [True],
    "PastDate": ["2001-01-01"],
    "FutureDate": ["3001-01-01"],
    "PastDatetime": ["2001-01-01T00:00:00"],
    "FutureDatetime": ["3001-01-01T00:00:00"],
    "AwareDatetime": ["2001-01-01T00:00:00+01:00"],
    "NaiveDatetime": ["2001-01-01T00:00:00"],
    "MISSING": [pydantic_core.MISSING],
    "UNSET": [],  # the one in pydantic's own signatures
    "TzInfo": [pydantic_core.TzInfo(3_600)],
}
# What describes values, validates them or tells of them, and is none.
NO_VALUES: Final = {
    "AfterValidator",
    "BeforeValidator",
    "PlainValidator",
    "WrapValidator",
    "SkipValidation",
    "ValidateAs",
    "InstanceOf",
    "ModelWrapValidatorHandler",
    "WithJsonSchema",
    "PlainSerializer",
    "SerializeAsAny",
    "WrapSerializer",
    "ConfigDict",
    "BaseConfig",
    "Extra",
    "AliasChoices",
    "AliasGenerator",
    "AliasPath",
    "UrlConstraints",
    "Strict",
    "StringConstraints",
    "AllowInfNan",
    "EncoderProtocol",
    "EncodedBytes",
    "EncodedStr",
    "Base64Encoder",
    "GetPydanticSchema",
    "Tag",
    "Discriminator",
    "FailFast",
    "TypeAdapter",
    "GetCoreSchemaHandler",
    "OnErrorOmit",
    "GetJsonSchemaHandler",
    "ValidationInfo",
    "SerializationInfo",
    "ValidatorFunctionWrapHandler",
    "FieldSerializationInfo",
    "SerializerFunctionWrapHandler",
    "PydanticErrorCodes",
    "BaseModel",
    "RootModel",
    "EmailStr",
    "ImportString",
    "VERSION",
    "__version__",
    "dataclasses",
    "ArgsKwargs",
    "CoreConfig",
    "CoreSchema",
    "CoreSchemaType",
    "ErrorDetails",
    "InitErrorDetails",
    "ModelFieldsSet",
    "PydanticUndefined",
    "PydanticUndefinedType",
    "SchemaSerializer",
    "SchemaValidator",
    "Some",
    "NoneStr",
    "NoneBytes",
    "StrBytes",
    "NoneStrBytes",
    "ConstrainedBytes",
    "ConstrainedList",
    "ConstrainedSet",
    "ConstrainedFrozenSet",
    "ConstrainedStr",
    "ConstrainedInt",
    "ConstrainedFloat",
    "ConstrainedDecimal",
    "ConstrainedDate",
    "PyObject",
    "JsonWrapper",
    "SecretField",
}
MODULES: Final[list[ModuleType]] = [
    pydantic,
    pydantic.types,
    pydantic.networks,
    pydantic_core,
    pydantic.v1.types,
    pydantic.v1.networks,
]


def public(module: ModuleType) -> dict[str, Any]:
    """What a module offers, other than functions, exceptions and warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of some it says that they will go
        found = {name: getattr(module, name, None) for name in module.__all__}
    return {
        name: value
        for name, value in found.items()
        if value is not None
        and not (inspect.isclass(value) and issubclass(value, BaseException))
        and not inspect.isfunction(value)
        and not inspect.isbuiltin(value)
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_type_is_decided_on(module: ModuleType) -> None:
    """A type for values stands in `VALUES`, and is tested below; all others in `NO_VALUES`."""
    names = set(public(module))
    assert names - VALUES.keys() - NO_VALUES == set(), "can its values be stored? see _value_types"
    assert not VALUES.keys() & NO_VALUES


def examples() -> list[Any]:
    """Values of all types that the installed pydantic has, of version 2 and of version 1."""
    found: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modules = {**public(pydantic_core), **public(pydantic), **vars(pydantic.color)}
        for name, given in VALUES.items():
            found += [
                value
                if type(value) is modules[name] or value is modules[name]
                else TypeAdapter(modules[name]).validate_python(value)
                for value in given
                if name in modules
            ]
        olds = {**public(pydantic.v1.networks), **public(pydantic.v1.types)}
        for name, given in VALUES.items():
            if name in olds and name not in {"NameEmail", "AnyUrl", "HttpUrl"}:
                # Its URLs have one host each, but for PostgresDsn's.
                old = [value for value in given if "," not in str(value) or type(value) is tuple]
                found += [pydantic.v1.parse_obj_as(olds[name], value) for value in old]
        found += [
            pydantic.v1.parse_obj_as(pydantic.v1.HttpUrl, "https://ann:pw@example.org:81/a?b#c"),
            pydantic.v1.parse_obj_as(pydantic.v1.PostgresDsn, "postgresql://a@one:1,b@two:2/db"),
            pydantic.v1.NameEmail("Ann", "ann@example.org"),
            pydantic.v1.color.Color("red"),
        ]
    return found


EXAMPLES: Final = examples()


@pytest.mark.parametrize("value", EXAMPLES, ids=lambda value: type(value).__qualname__)
def test_its_values_come_back_the_same(value: Any) -> None:
    """Alone, in a model, as a key, whatever the list allows; and can be read as plain data."""
    serde = SafeSerializer(allow=[])
    stored = serde.dumps_typed([value, (value,)])
    assert same(serde.loads_typed(stored), [value, (value,)])
    PlainSerializer().loads_typed(stored)


@pytest.mark.parametrize(
    "value",
    [
        pydantic.HttpUrl("https://a/b"),
        pydantic_core.Url("https://a/b"),
        pydantic.ByteSize(5),
        pydantic.Secret("x"),
        pydantic.SecretStr("x"),
        pydantic.v1.PaymentCardNumber(CARD),
        pydantic.v1.parse_obj_as(pydantic.v1.FileUrl, "file:///a"),
    ],
    ids=lambda value: type(value).__qualname__,
)
def test_its_values_can_be_keys(value: Any) -> None:
    """Their hash is pydantic's, and runs nothing of the application."""
    serde = SafeSerializer(allow=[])
    assert same(serde.loads_typed(serde.dumps_typed({value: {value}})), {value: {value}})


class Holder(BaseModel):
    """A model that holds a URL without a path."""

    url: pydantic.HttpUrl

    model_config = ConfigDict(url_preserve_empty_path=True)


class OwnUrl(pydantic.AnyUrl):
    """A URL of the application's."""

    _constraints = UrlConstraints(allowed_schemes=["own"], host_required=True)


class OwnSecret(pydantic.Secret[int]):
    """A secret of the application's."""

    def _display(self) -> str:
        raise AssertionError


class OwnSize(pydantic.ByteSize):
    """A size of the application's."""


class OldUrl(pydantic.v1.AnyUrl):
    """A URL of the application's, of pydantic 1."""

    allowed_schemes = {"own"}  # noqa: RUF012 -- as pydantic has it


OWN: Final = [
    OwnUrl("own://host/a"),
    OwnSecret(5),
    OwnSize(5),
    pydantic.v1.parse_obj_as(OldUrl, "own://host/a"),
]


@pytest.mark.parametrize("value", OWN, ids=lambda value: type(value).__name__)
def test_a_class_that_derives_from_one_can_be_stored(value: Any) -> None:
    """Where the list allows it; its constraints were checked when the value was made."""
    serde = SafeSerializer(allow=[type(value)])
    assert same(serde.loads_typed(serde.dumps_typed([value])), [value])
    with pytest.raises(SerializationError, match="allow="):
        SafeSerializer(allow=[]).dumps_typed([value])
    with pytest.raises(UnsafeTypeError, match="allow="):
        SafeSerializer(allow=[]).loads_typed(serde.dumps_typed([value]))


def test_an_empty_path_stays_empty() -> None:
    """Such a URL does not come back with a slash."""
    serde = SafeSerializer()
    value = Holder(url="https://example.org")  # type: ignore[arg-type]
    found = serde.loads_typed(serde.dumps_typed(value))
    assert (str(found.url), found) == ("https://example.org", value)


def test_a_missing_value_stays_missing() -> None:
    """It is the very sentinel; one of the application's own is refused."""
    serde = SafeSerializer()
    found = serde.loads_typed(serde.dumps_typed({"a": pydantic_core.MISSING}))
    assert found["a"] is pydantic_core.MISSING
    with pytest.raises(SerializationError, match="sentinel"):
        serde.dumps_typed({"a": type(pydantic_core.MISSING)("OWN")})


def test_secrets_are_hidden_from_viewers() -> None:
    """Those of derived classes too, and what LangGraph's serializer stored."""
    stored = SafeSerializer().dumps_typed([OwnSecret(5), pydantic.Secret("five")])
    own, plain = PlainSerializer().loads_typed(stored)
    assert own.type_name.endswith("test_pydantic_types:OwnSecret")
    assert own.value == {"_secret_value": "*" * 10}
    assert plain == PlainObject("pydantic.types:Secret", "*" * 10)


@pytest.mark.parametrize(
    "value", [pydantic.HttpUrl("https://a/b"), pydantic.v1.parse_obj_as(OldUrl, "own://host/a")]
)
def test_a_url_is_plain_text_to_viewers(value: Any) -> None:
    """With the name of its class."""
    plain = PlainSerializer().loads_typed(SafeSerializer().dumps_typed([value]))[0]
    assert (plain.type_name.rpartition(":")[2], plain.value) == (type(value).__name__, str(value))


def test_a_url_that_was_never_made_is_refused() -> None:
    """When it is written."""
    with pytest.raises(SerializationError, match=r"HttpUrl was made without its constructor"):
        SafeSerializer().dumps_typed(object.__new__(pydantic.HttpUrl))
