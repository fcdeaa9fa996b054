"""The commands of `belljar volume` as a table; `families.py` finds the one that was asked for."""

from __future__ import annotations

from belljar.loader.options import JSON, Command, Option

_ROOM = "belljar.loader.commands.volumes"
_PASSPHRASES = (
    Option(name="passphrase-file", value="FILE", help="a file whose first line is the passphrase"),
    Option(name="passphrase-fd", value="DESCRIPTOR", help="an open descriptor to read the passphrase from"),
)
_OPENING = (
    *_PASSPHRASES,
    Option(name="key-file", value="FILE", help="a key file, 32 random bytes or more"),
    Option(name="owner-key", value="KEY.pem", help="the private key of an owner"),
)
_MAKING = (
    *_PASSPHRASES,
    Option(name="key-file", value="FILE", help="a key file, 32 random bytes or more"),
    Option(name="recipient", value="KEY.pub.pem", help="the public key of an owner; needs no secret"),
    Option(name="sealed", value="POLICY", help="a key sealed to the signer or measurement of --for"),
)
_FOR = Option(name="for", value="BUNDLE", help="the enclave that a sealed slot is for; a manifest will do, too")
_NEW = (
    Option(name="new-passphrase-file", value="FILE", help="a file whose first line is the new passphrase"),
    Option(name="new-passphrase-fd", value="DESCRIPTOR", help="an open descriptor to read the new passphrase from"),
    Option(name="new-key-file", value="FILE", help="the new key file, 32 random bytes or more"),
    Option(name="new-recipient", value="KEY.pub.pem", help="the public key of an owner; needs no secret"),
    Option(name="new-sealed", value="POLICY", help="a key sealed to the signer or measurement of --for"),
)
_LABEL = Option(name="label", value="TEXT", help="what to call the key slot; whoever sees the container sees it")
_ANCHORS = Option(
    name="anchors", value="FOLDER", help="where the platform keeps its anchors, if not in the usual place"
)
_SNAPSHOT = Option(name="snapshot", value="NAME", help="look at a snapshot instead")
_OWNER = Option(name="owner", value="UID:GID", help="whom files in the volume belong to: 1000:1000, the usual guest")

COMMANDS = (
    Command(
        name="volume create",
        usage="[OPTIONS] VOLUME",
        help="make an empty volume",
        options=(*_MAKING, _FOR, _LABEL, _OWNER, _ANCHORS, JSON),
        run=f"{_ROOM}.create",
        example="belljar volume create state.vol",
    ),
    Command(
        name="volume ls",
        usage="[OPTIONS] VOLUME [PATH]",
        help="list what is in a volume",
        options=(*_OPENING, _SNAPSHOT, Option(name="recursive", short="R", help="with all below"), _ANCHORS, JSON),
        run=f"{_ROOM}.trees.ls",
        example="belljar volume ls state.vol /models",
    ),
    Command(
        name="volume get",
        usage="[OPTIONS] VOLUME PATH [TARGET]",
        help="copy a file or tree out of a volume",
        options=(*_OPENING, _SNAPSHOT, _ANCHORS, JSON),
        run=f"{_ROOM}.trees.get",
        example="belljar volume get state.vol /results results",
    ),
    Command(
        name="volume put",
        usage="[OPTIONS] VOLUME SOURCE… PATH",
        help="copy files and trees into a volume",
        options=(*_OPENING, Option(name="replace", help="replace files that are there"), _OWNER, _ANCHORS, JSON),
        run=f"{_ROOM}.trees.put",
        example="belljar volume put state.vol models /",
    ),
    Command(
        name="volume cat",
        usage="[OPTIONS] VOLUME PATH…",
        help="print files of a volume",
        options=(*_OPENING, _SNAPSHOT, _ANCHORS),
        run=f"{_ROOM}.trees.cat",
        example="belljar volume cat state.vol /log.txt",
    ),
    Command(
        name="volume check",
        usage="[OPTIONS] VOLUME",
        help="verify everything in a volume, or save what is intact",
        options=(
            *_OPENING,
            Option(name="no-anchor", help="do not ask whether it is the newest state"),
            Option(name="repair", value="NEW", help="save what is intact into a new volume"),
            _ANCHORS,
            JSON,
        ),
        run=f"{_ROOM}.check",
        example="belljar volume check state.vol",
    ),
    Command(
        name="volume stat",
        usage="[OPTIONS] VOLUME",
        help="say how much a volume holds",
        options=(*_OPENING, _ANCHORS, JSON),
        run=f"{_ROOM}.stat",
        example="belljar volume stat state.vol",
    ),
    Command(
        name="volume snapshot",
        usage="[OPTIONS] VOLUME [NAME]",
        help="keep the present state under a name, or list the names",
        options=(*_OPENING, Option(name="delete", help="delete the snapshot of that name"), _ANCHORS, JSON),
        run=f"{_ROOM}.states.snapshot",
        example="belljar volume snapshot state.vol before-upgrade",
    ),
    Command(
        name="volume rollback",
        usage="[OPTIONS] VOLUME NAME",
        help="go back to a snapshot; what came later is lost",
        options=(*_OPENING, _ANCHORS, JSON),
        run=f"{_ROOM}.states.rollback",
        example="belljar volume rollback state.vol before-upgrade",
    ),
    Command(
        name="volume backup",
        usage="[OPTIONS] (VOLUME REPOSITORY | --list REPOSITORY | --verify REPOSITORY)",
        help="back a volume's ciphertext up, into a folder or to a URL; no key is needed",
        options=(
            Option(name="keep", value="COUNT", help="afterwards, keep the newest COUNT backups of this volume only"),
            Option(name="list", help="list the backups of a repository"),
            Option(name="verify", help="verify a repository"),
            JSON,
        ),
        run=f"{_ROOM}.states.backup",
        example="belljar volume backup state.vol /mnt/disk/backups",
    ),
    Command(
        name="volume restore",
        usage="[OPTIONS] REPOSITORY VOLUME",
        help="restore a volume from a backup; no key is needed",
        options=(
            Option(name="backup", value="ID", help="which one: the beginning of its id; else the newest"),
            Option(name="replace", help="replace the volume that is there"),
            JSON,
        ),
        run=f"{_ROOM}.states.restore",
        example="belljar volume restore /mnt/disk/backups state.vol",
    ),
    Command(
        name="volume anchor",
        usage="[OPTIONS] VOLUME",
        help="show what counts as the newest state of a volume, or say that this one does",
        options=(
            *_OPENING,
            Option(name="reset", value="REASON", help="from now on this state is the newest: after a restore"),
            _ANCHORS,
            JSON,
        ),
        run=f"{_ROOM}.states.anchor",
        example='belljar volume anchor state.vol --reset "restored after the disk broke"',
    ),
    Command(
        name="volume slots",
        usage="[OPTIONS] VOLUME",
        help="list the key slots of a volume, add one, or remove one",
        options=(
            *_OPENING,
            Option(name="add", help="add a slot for what the --new- options say"),
            Option(name="remove", value="NUMBER", help="remove a slot"),
            *_NEW,
            _FOR,
            _LABEL,
            JSON,
        ),
        run=f"{_ROOM}.keys.slots",
        example="belljar volume slots state.vol --add --new-recipient owner.pub.pem",
    ),
    Command(
        name="volume rekey",
        usage="[OPTIONS] VOLUME",
        help="replace the key slot that opens with a new one, at once; with --data every key, by writing all anew",
        options=(
            *_OPENING,
            *_NEW,
            _FOR,
            Option(name="data", help="write everything anew, under new keys, for what opens it or for a new slot"),
            _ANCHORS,
            JSON,
        ),
        run=f"{_ROOM}.keys.rekey",
        example="belljar volume rekey state.vol",
    ),
    Command(
        name="volume keygen",
        usage="[OPTIONS]",
        help="make an owner's key for key slots",
        options=(
            Option(name="output", short="o", value="FILE", help="where to write; the public key goes beside it"),
            Option(name="algorithm", value="NAME", help="mlkem768-x25519 (the default) or x25519"),
        ),
        run=f"{_ROOM}.keys.keygen",
        example="belljar volume keygen -o owner.pem",
    ),
    Command(
        name="volume destroy",
        usage="[OPTIONS] --yes VOLUME",
        help="overwrite the key slots of a volume and remove it: nobody can open it again",
        options=(
            Option(name="yes", help="yes, destroy it"),
            Option(name="record", value="FILE", help="where to write the record of it, ready to be signed"),
            _ANCHORS,
            JSON,
        ),
        run=f"{_ROOM}.destroy",
        example="belljar volume destroy --yes state.vol",
    ),
)
