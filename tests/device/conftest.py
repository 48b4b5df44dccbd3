"""android_demo's core on a JVM: built once, then asked by the tests."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

OFFLINE = Path(__file__).parents[2] / "android_demo/offline"


class Host:
    """The commands of android_demo/offline/host: a JSON document in, one out."""

    def __call__(self, command: str, request, *arguments: str | Path):
        """What the command replies. Raises RuntimeError with its line if it refuses."""
        target = OFFLINE / "host/target"
        classes = f"{target}/host-1.jar:{target}/lib/*"
        java = ["java", "-Xmx1g", "-cp", classes, "mobilebert.host.MainKt", command]
        done = subprocess.run(
            [*java, *map(str, arguments)], input=json.dumps(request), capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def host() -> Host:
    for program in ("java", "mvn"):
        if not shutil.which(program):
            pytest.fail(f"no {program}: these tests need a JDK 17 and Maven", pytrace=False)
    maven = ["mvn", "-q", "-B", "-f", OFFLINE / "pom.xml", "-pl", "host", "-am", "package"]
    done = subprocess.run([*maven, "-DskipTests"], capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"core does not compile:\n{done.stdout[-3000:]}", pytrace=False)
    return Host()
