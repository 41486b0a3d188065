"""The tasks that say how things are set up, and `bundle.*`, with their options."""

from functools import partial

from tokens.cli import declaration, target, values
from tokens.cli.declaration import Family, group
from tokens.cli.option import Option, Value, argument, where
from tokens.tasks.options import LOCATED, OUTPUT, TARGET

task = partial(declaration.task, family=Family.SET_UP)

GRANTS = Option(
    "grants",
    "Instead, print the least privileges for this role as SQL: analyze, list, others (kinds that are no access "
    "tokens), whose, history, changes, revoke, rotate.",
    value=Value("ROLE", "the name of a role", "auditor"),
)


@task("doctor:doctor", LOCATED, OUTPUT, GRANTS)
def doctor() -> None:
    """Check GitLab, its database and our privileges.

    Each line is OK, WARN or FAIL, with what to do about it. One FAIL makes the
    exit status 1. Among them are the lines of breakdown about what the instance
    demands of tokens. Nothing is changed.

    --grants ROLE prints SQL instead: the least privileges that this role needs,
    for analyze, for list, for kinds that are no access tokens, for history, for
    changes, for revoke and for rotate. The owner of GitLab's tables runs it.

    Examples:

        gitlab-tokens doctor --target docker:gitlab
        gitlab-tokens doctor --grants auditor
    """


TARGETS_CONFIGURED = argument("configured", target.configured)


@task("targets:targets", TARGETS_CONFIGURED, OUTPUT)
def targets() -> None:
    """List the targets that there are, and the default.

    It lists the names under tokens.targets in Invoke's configuration, the
    GitLab that is installed right here, and the demo. A * marks the default,
    which counts without --target. The last line says what makes it the
    default. No password is shown, and nothing is connected to.

    Examples:

        gitlab-tokens targets
        gitlab-tokens targets --output json
    """


DIRECTORY = where(
    "directory",
    "Folder for the bundle. Default: INVOKE_TOKENS_BUNDLE_DIRECTORY, then tokens.bundle.directory in the "
    "configuration, then invoke-gitlab-tokens in the user's cache.",
    value=values.FOLDER,
)

BUNDLE_FOLDER = DIRECTORY.read_by(target.bundle_folder, "folder")


@task("bundle:build", BUNDLE_FOLDER, name="bundle.build")
def build() -> None:
    """Build the program with its Python into one file.

    The bundle brings its own Python and C library. So it runs on any Linux of the
    same architecture, without Python and without a home, from a read-only folder.
    Tasks with --target docker:... or kubernetes:... build it and carry it along
    by themselves.

    Example:

        gitlab-tokens bundle.build --directory ~/bundles
    """


BUNDLE_PLACE = argument("place", target.bundle_place, TARGET, DIRECTORY)


@task("bundle:clean", BUNDLE_PLACE, name="bundle.clean", travels=False)
def clean() -> None:
    """Remove what was carried or built.

    With --target it removes what was carried into a container or pod, without it
    the bundles that were built here.

    Examples:

        gitlab-tokens bundle.clean
        gitlab-tokens bundle.clean --target docker:gitlab
    """


DEPLOY_DIRECTORY = where(
    "directory", "Where to make the folder deploy. Default: the current folder.", ".", value=values.FOLDER
)


@task("bundle:deploy", DEPLOY_DIRECTORY, name="bundle.deploy")
def deploy() -> None:
    """Write out deploy/: what to install where, and how.

    The package carries the folder along. Another folder deploy that is there
    already is not overwritten.

    Examples:

        gitlab-tokens bundle.deploy
        gitlab-tokens bundle.deploy --directory ~/bundles
    """


bundle = group(
    "bundle",
    "`bundle.*`: the program with its own Python in one file, to be carried to where there is none.",
    *(build, clean, deploy),
)
