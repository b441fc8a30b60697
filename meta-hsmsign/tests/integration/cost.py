#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What signing costs: wall time in dev against off, measured in pairs with real bitbake. Variables as for run.py.

  cost.py [PAIRS [MB [PACKAGES]]]

A warm build here: everything is there, and a file of one package has changed. So that package, the root filesystem, image,
bundle and FIT follow. MB is how much the root filesystem holds besides the test's few files, in how many packages; by default as
much as a small image. The kernel is as long as a small compressed one.
The figures are for docs/yocto.md; nothing is judged, since a machine's load is no property of the layer. CPU time is none
of the load's: it is shown too if COST_CPU names a file with the nanoseconds of the control group this runs in (cpuacct.usage).
"""

import os
import pathlib
import re
import shutil
import statistics
import sys
import time

import run as integration

OFF = ['IMAGE_FSTYPES:pn-test-image = "ext4"', 'TEST_BUNDLE_TYPE = "ext4"']
DEV = ['HSMSIGN_MODE = "dev"', 'IMAGE_FSTYPES:pn-test-image = "ext4.verity"', 'HSMSIGN_ROOTFS_IMAGE = "test-image"']


def cpu():
    """CPU seconds of all that has run in this control group; bitbake's server is no child of ours."""
    path = os.environ.get("COST_CPU")
    return int(pathlib.Path(path).read_text()) / 1e9 if path else 0.0


def timed(build, *arguments):
    """Seconds on the wall and of the CPU."""
    start = time.monotonic(), cpu()
    build.bitbake(*arguments)
    return time.monotonic() - start[0], cpu() - start[1]


def parse(build):
    """Seconds to read all recipes anew."""
    for cache in (build.top / "cache", build.top / "tmp/cache"):
        for path in cache.rglob("bb_cache*"):
            path.unlink()
    return timed(build, "-p")


def edited(build):
    """The file that changes. Not a recipe: all of them would be read anew, in both modes."""
    return build.top / "edited"


def warm(build):
    """Seconds to build all after an edit."""
    edited(build).write_text("%d\n" % time.time_ns())
    return timed(build, *integration.TARGETS, build.fit)


def idle(build):
    """Seconds of a build in which nothing has changed."""
    return timed(build, *integration.TARGETS, build.fit)


def show(name, pairs):
    for kind, number in (("wall", 0), ("CPU", 1)) if os.environ.get("COST_CPU") else (("wall", 0),):
        off, dev = ([pair[i][number] for pair in pairs] for i in (0, 1))
        extra = statistics.median(d - o for o, d in zip(off, dev))
        print("%-5s %-4s off %s | dev %s | medians %.2f s, %.2f s; median of the differences %+.2f s (%+.1f %%)" % (
            name, kind, " ".join("%.1f" % v for v in off), " ".join("%.1f" % v for v in dev), statistics.median(off), statistics.median(dev),
            extra, 100 * extra / statistics.median(off)), flush=True)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    ballast = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    packages = int(sys.argv[3]) if len(sys.argv) > 3 else 40
    if min(count, ballast, packages) < 1:
        sys.exit("error: PAIRS, MB and PACKAGES begin at 1")
    # A file system of this size and half as much again.
    more = ['IMAGE_INSTALL:append:pn-test-image = " %s"' % " ".join("test-ballast-%d" % n for n in range(packages)),
            'TEST_BALLAST_MB = "%d"' % ballast, 'TEST_BALLAST_PACKAGES = "%d"' % packages, 'TEST_KERNEL_MB = "12"',
            'IMAGE_ROOTFS_SIZE:forcevariable = "%d"' % (ballast * 1536),
            # As in every distribution that does not say otherwise.
            'INHERIT += "create-spdx"']
    text = (pathlib.Path(os.environ["OECORE_DIR"]) / "meta/conf/layer.conf").read_text()
    series = re.search(r'^LAYERSERIES_CORENAMES = "([^"]*)"', text, re.MULTILINE).group(1)
    top = pathlib.Path(os.environ["TEST_BUILD"]).resolve()
    builds = []
    for name, lines in (("off", OFF), ("dev", DEV)):
        build = integration.Build(top / name, series)
        # No shared state in common: with the mode off, oe-core's FIT with a kernel from there has no version.
        edited(build).touch()
        build.configure(*lines, *more, 'TEST_PLANTED = "%s"' % edited(build), *integration.common())
        shutil.rmtree(build.top / "cache", ignore_errors=True)
        build.build(*integration.TARGETS, build.fit)
        builds.append(build)
    print("%s, %d pairs, %d MB in %d packages, load %.1f" % (series, count, ballast, packages, os.getloadavg()[0]), flush=True)
    for what in (warm, parse, idle):
        pairs = []
        for number in range(count):
            # Turn and turn about, so that a machine that grows slower is not counted against one of them.
            order = (0, 1) if number % 2 == 0 else (1, 0)
            seconds = {i: what(builds[i]) for i in order}
            pairs.append((seconds[0], seconds[1]))
        show(what.__name__, pairs)


if __name__ == "__main__":
    main()
