"""The APK that android_demo/offline builds: what is in it, and whether its code is core's."""

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

OFFLINE = Path(__file__).parents[2] / "android_demo/offline"
APK = OFFLINE / "build/app.apk"
LARGEST_CODE = 1_000_000  # bytes
LIBRARY = "libtensorflowlite_jni.so"
ABIS = ("arm64-v8a", "x86_64")


def run(*command: str | Path, **options) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def apk():
    if not APK.exists():
        pytest.fail(f"no {APK}: run `make android`", pytrace=False)
    with zipfile.ZipFile(APK) as opened:
        yield opened


def test_what_the_system_reads_of_it(apk):
    badging = run("aapt", "dump", "badging", APK)
    assert "package: name='mobilebert.demo' versionCode='1' versionName='1.0'" in badging
    assert "sdkVersion:'24'" in badging and "targetSdkVersion:'35'" in badging
    assert "launchable-activity: name='mobilebert.demo.ModelsActivity'" in badging
    assert re.search(r"native-code: (.*)", badging)[1].split() == [f"'{abi}'" for abi in ABIS]
    # No permission, so no INTERNET either.
    assert "uses-permission" not in badging
    assert "uses-permission" not in run("aapt", "dump", "permissions", APK)


def test_it_is_signed_and_aligned(apk):
    verified = run("apksigner", "verify", "--verbose", APK)
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in verified
    assert "Verified using v3 scheme (APK Signature Scheme v3): true" in verified
    run("zipalign", "-c", "-p", "4", APK)


def test_models_are_stored_byte_for_byte(apk):
    names = [name for name in apk.namelist() if name.endswith(".tflite")]
    exported = sorted((OFFLINE / "build/models").glob("*.tflite"))
    assert sorted(names) == [f"assets/{path.name}" for path in exported] and names
    for path in exported:
        entry = apk.getinfo(f"assets/{path.name}")
        assert entry.compress_type == zipfile.ZIP_STORED  # to be mapped
        assert apk.read(entry) == path.read_bytes()


def test_native_libraries_and_their_pages(apk, tmp_path):
    """The engine is inside, mapped from the APK. 2.16.1 is built for pages of 4 KiB: phones with
    pages of 16 KiB need the later engine that the Gradle build takes."""
    libraries = [entry for entry in apk.infolist() if entry.filename.endswith(".so")]
    assert [entry.filename for entry in libraries] == [f"lib/{abi}/{LIBRARY}" for abi in ABIS]
    for entry in libraries:
        assert entry.compress_type == zipfile.ZIP_STORED
        segments = run("readelf", "-lW", apk.extract(entry, tmp_path))
        pages = {int(line.split()[-1], 16) for line in segments.splitlines() if " LOAD " in line}
        assert pages == {0x1000}, f"{entry.filename}: pages of {pages}"


def test_code_is_small(apk):
    assert [name for name in apk.namelist() if name.endswith(".dex")] == ["classes.dex"]
    assert apk.getinfo("classes.dex").file_size < LARGEST_CODE


def test_shipped_code_passes_cores_tests(apk, tmp_path):
    """classes.dex back to class files; core's own from there, under its tests."""
    apk.extract("classes.dex", tmp_path)
    # enjarify is a program of Debian's Python.
    path = {"PATH": "/usr/bin:/bin"}
    run("enjarify", "-f", "-o", "shipped.jar", "classes.dex", cwd=tmp_path, env=path)
    with zipfile.ZipFile(OFFLINE / "app/target/tools/kotlin-stdlib.jar") as library:
        kotlins = set(library.namelist())
    with zipfile.ZipFile(tmp_path / "shipped.jar") as shipped:
        # Not Kotlin's library, of which the app has what it uses and the tests need more; but what
        # R8 has made beside it.
        wanted = [name for name in shipped.namelist() if name not in kotlins]
        assert "mobilebert/text/WordPiece.class" in wanted
        shipped.extractall(tmp_path / "classes", wanted)
    tests = OFFLINE / "core/target/test-classes"
    names = [
        str(path.relative_to(tests).with_suffix("")).replace("/", ".")
        for path in sorted(tests.rglob("*Test.class"))
    ]
    assert names
    libraries = [
        f"{OFFLINE}/app/target/tools/{name}.jar"
        for name in ("kotlin-stdlib", "kotlin-test", "kotlin-test-junit", "junit", "hamcrest-core")
    ]
    classes = ":".join([str(tmp_path / "classes"), str(tests), *libraries])
    # What enjarify makes has larger stack frames than what the compiler made.
    java = ["java", "-Xmx1g", "-Xss4m", "-cp", classes]
    output = run(*java, "org.junit.runner.JUnitCore", *names, cwd=OFFLINE)
    assert re.search(r"^OK \(\d+ tests\)$", output, re.MULTILINE), output[-3000:]
