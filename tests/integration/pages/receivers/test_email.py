"""Mail over a real mail server: threads, TLS, logins, and what each of its answers means."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.net.bounded_smtp import BoundedMail
from killswitch.net.credentials import TLS, Secret
from killswitch.net.mail_server import MailServer
from killswitch.page_addresses import PageAddresses
from killswitch.pages import events
from killswitch.pages.receivers.email import EmailPager
from tests.doubles.pages import SETTINGS, armed, trip_page
from tests.servers.certificates import Authority
from tests.servers.etcd import free_ports
from tests.servers.mail import PASSWORD, USER, MailDouble

SENDER = "killswitch@example.org"
ANN, BOB = "ann@example.org", "bob@example.org"


@pytest.fixture
def server() -> Iterator[MailDouble]:
    with MailDouble() as double:
        yield double


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def context_of(authority: Authority, host: str = "127.0.0.1") -> ssl.SSLContext:
    certificate = authority.issue("mail", hosts=(host,))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


def pager(
    server: MailDouble, *to: str, encryption: str = "none", tls: TLS | None = None, **login: object
) -> EmailPager:
    mail = BoundedMail(MailServer("127.0.0.1", server.port, encryption, **login), tls)  # type: ignore[arg-type]
    return EmailPager(mail, sender=SENDER, default_to=to or (ANN,))


def body_of(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert isinstance(part, EmailMessage)
    text: str = part.get_content()
    return text


def test_an_incident_is_one_thread(server: MailDouble) -> None:
    """The re-arm answers the trip's mail under its subject, so that every mail program shows both together."""
    one = pager(server, ANN, BOB)
    reference = one.send(trip_page(), possible_repeat=False, deadline=Deadline(5))
    again = events.re_armed(replace(armed(), generation=8), reason="fixed", by="ann", settings=SETTINGS)
    one.reply(again, reference, possible_repeat=False, deadline=Deadline(5))
    trip, re_arm = server.mails
    assert trip["Subject"].startswith("[critical] support-copilot: canary model-new tripped")
    assert re_arm["Subject"] == f"Re: {trip['Subject']}"
    assert re_arm["In-Reply-To"] == re_arm["References"] == trip["Message-ID"]
    assert trip["Message-ID"] != re_arm["Message-ID"]
    assert (trip["To"], server.recipients[0]) == (f"{ANN}, {BOB}", [ANN, BOB])
    assert trip["Importance"] == "high"
    assert re_arm["Importance"] is None
    assert "refusal_rate" in body_of(trip)
    assert '<a href="https://runbooks.example/canary">' in body_of(trip, "html")


def test_a_page_joins_the_thread_without_its_reference(server: MailDouble) -> None:
    """Long after, when the reference is forgotten, the headers still name the trip's mail."""
    one = pager(server)
    one.send(trip_page(), possible_repeat=False, deadline=Deadline(5))
    again = events.re_armed(replace(armed(), generation=8), reason="fixed", by="ann", settings=SETTINGS)
    one.send(again, possible_repeat=False, deadline=Deadline(5))
    assert server.mails[1]["References"] == server.mails[0]["Message-ID"]


def test_a_copy_has_the_same_message_id(server: MailDouble) -> None:
    one = pager(server)
    for repeat in (False, True):
        one.send(trip_page(), possible_repeat=repeat, deadline=Deadline(5))
    first, second = server.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert body_of(second).startswith("(possible repeat)")


def test_the_rule_files_addresses_come_before_the_default(server: MailDouble) -> None:
    settings = replace(SETTINGS, addresses=PageAddresses(email=(BOB,)))
    one = pager(server, ANN)
    page = trip_page(settings=settings)
    assert one.address(page) == BOB
    one.send(page, possible_repeat=False, deadline=Deadline(5))
    assert server.recipients == [[BOB]]
    assert EmailPager(BoundedMail(MailServer("h", 25, "none")), sender=SENDER).address(trip_page()) is None


def test_a_line_that_begins_with_a_dot_arrives_whole(server: MailDouble) -> None:
    page = replace(trip_page(), why=".", next_steps=("..two", ".one"))
    pager(server).send(page, possible_repeat=False, deadline=Deadline(5))
    assert body_of(server.mails[0]).splitlines()[1] == "."


# --- TLS and logins -----------------------------------------------------------------------------


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_a_login_goes_over_verified_tls(authority: Authority, tmp_path: Path, encryption: str) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    secret = Secret.from_file(tmp_path / "password")
    context = context_of(authority)
    with MailDouble(encryption=encryption, context=context, login=encryption == "starttls") as server:
        one = pager(server, encryption=encryption, tls=TLS(ca_file=authority.ca_file), **login_of(encryption, secret))
        one.answers(Deadline(5))
        assert server.mails == []
        one.send(trip_page(), possible_repeat=False, deadline=Deadline(5))
        assert len(server.mails) == 1


def login_of(encryption: str, secret: Secret) -> dict[str, object]:
    """aiosmtpd offers a login after STARTTLS only."""
    return {"user": USER, "password": secret} if encryption == "starttls" else {}


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_a_server_that_cannot_be_verified_gets_nothing(authority: Authority, encryption: str) -> None:
    with MailDouble(encryption=encryption, context=context_of(authority)) as server:
        with pytest.raises(AccessDenied, match="CA we do not trust"):
            pager(server, encryption=encryption).send(trip_page(), possible_repeat=False, deadline=Deadline(5))
        assert server.mails == []


def test_a_certificate_of_another_name_is_refused(authority: Authority) -> None:
    context = context_of(authority, "elsewhere.example.org")
    with MailDouble(encryption="starttls", context=context) as server:
        one = pager(server, encryption="starttls", tls=TLS(ca_file=authority.ca_file))
        with pytest.raises(AccessDenied, match="another"):
            one.send(trip_page(), possible_repeat=False, deadline=Deadline(5))


def test_a_server_without_starttls_gets_nothing(server: MailDouble) -> None:
    """Someone between us and the server may have taken the offer out of its answer."""
    with pytest.raises(AccessDenied, match="offers no STARTTLS"):
        pager(server, encryption="starttls").send(trip_page(), possible_repeat=False, deadline=Deadline(5))
    assert server.mails == []


def test_a_wrong_password_is_named_and_never_shown(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "password").write_text("wrong-and-secret")
    context = context_of(authority)
    with MailDouble(encryption="starttls", context=context, login=True) as server:
        one = pager(
            server,
            encryption="starttls",
            tls=TLS(ca_file=authority.ca_file),
            user=USER,
            password=Secret.from_file(tmp_path / "password"),
        )
        with pytest.raises(AccessDenied, match="check smtp_user and its password") as raised:
            one.send(trip_page(), possible_repeat=False, deadline=Deadline(5))
    assert "wrong-and-secret" not in f"{raised.value} {caplog.text}"


# --- outcomes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("451 try again later", Unavailable),
        ("452 no space", Unavailable),
        ("550 no such user", Refused),
        ("530 log in first", AccessDenied),
    ],
)
def test_each_refusal_of_all_recipients_has_a_meaning(
    server: MailDouble, answer: str, kind: type[KillswitchError]
) -> None:
    server.refuse = {ANN: answer}
    with pytest.raises(KillswitchError, match=answer) as raised:
        pager(server).send(trip_page(), possible_repeat=False, deadline=Deadline(5))
    assert type(raised.value) is kind


@pytest.mark.parametrize(("answer", "kind"), [("451 later", Unavailable), ("554 looks like spam", Refused)])
def test_each_refusal_of_a_message_has_a_meaning(server: MailDouble, answer: str, kind: type[KillswitchError]) -> None:
    server.on_data = answer
    with pytest.raises(KillswitchError, match=answer) as raised:
        pager(server).send(trip_page(), possible_repeat=False, deadline=Deadline(5))
    assert type(raised.value) is kind


def test_one_wrong_address_keeps_no_other_from_its_mail(server: MailDouble, caplog: pytest.LogCaptureFixture) -> None:
    server.refuse = {BOB: "550 no such user"}
    pager(server, ANN, BOB).send(trip_page(), possible_repeat=False, deadline=Deadline(5))
    assert server.recipients == [[ANN]]
    assert f"no mail to {BOB}: 550 no such user; correct the address" in caplog.text


def test_a_lost_answer_is_no_failure_and_no_success(server: MailDouble) -> None:
    server.lose = True
    with pytest.raises(OutcomeUnknown):
        pager(server).send(trip_page(), possible_repeat=False, deadline=Deadline(5))
    assert len(server.mails) == 1


def test_a_server_that_hangs_ends_at_the_deadline(server: MailDouble) -> None:
    """The message had been sent: the outcome is unknown."""
    server.hang()
    with pytest.raises(OutcomeUnknown, match="did not answer in time"):
        pager(server).send(trip_page(), possible_repeat=False, deadline=Deadline(0.5))
    server.release()


def test_a_server_that_is_down_has_taken_nothing() -> None:
    mail = BoundedMail(MailServer("127.0.0.1", free_ports(1)[0], "none"))
    with pytest.raises(Unavailable, match="refuses the connection"):
        EmailPager(mail, sender=SENDER, default_to=(ANN,)).send(
            trip_page(), possible_repeat=False, deadline=Deadline(5)
        )
