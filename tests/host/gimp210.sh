# Runs inside of a Debian 11 root: GIMP 2.10.22 with real Python-Fu, which Debian no longer has.
# GIMP and its libraries are packages; gimpfu and its C modules come from the source package of 2.10.34, built for
# Python 2.7. There is no PyGTK, so gimpfu shows no dialogs.
set -e
export DEBIAN_FRONTEND=noninteractive PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1
apt-get update -qq
apt-get install -y -qq --no-install-recommends gimp libgimp2.0-dev python2.7-dev python-setuptools build-essential \
    pkg-config dpkg-dev libgirepository1.0-dev libcairo2-dev libffi-dev libgtk2.0-dev python3-pip
mkdir -p /src && cd /src

# The last pip for Python 2.7 runs from its wheel.
pip3 -q download --no-deps pip==20.3.4
python2.7 pip-20.3.4-py2.py3-none-any.whl/pip -q install --no-index ./pip-20.3.4-py2.py3-none-any.whl
python2.7 -m pip -q install wheel==0.37.1
python2.7 -m pip -q install --no-use-pep517 pycairo==1.18.2
python2.7 -m pip -q install --no-use-pep517 PyGObject==3.36.1

apt-get -qq source gimp
cd gimp-2.10.*/plug-ins/pygimp
# The two headers that GIMP's own build would have made, for PyGObject 3 instead of PyGTK's 2.
cat > pygimp-util.h <<'H'
#ifndef _PYGIMP_UTIL_H_
#define _PYGIMP_UTIL_H_
#include <Python.h>
#include <glib-object.h>
#include <pygobject.h>
#define pygimp_init_pygobject() G_STMT_START { if (!pygobject_init(-1, -1, -1)) return; } G_STMT_END
#endif
H
mkdir -p /src/config
echo '#define GETTEXT_PACKAGE "gimp20"' > /src/config/config.h

library=/usr/lib/gimp/2.0
out=$library/python
mkdir -p $out
packages="gimp-2.0 gimpui-2.0 gegl-0.4 gtk+-2.0"
pygobject=$(dirname "$(find / -xdev -name pygobject.h -path '*include*' | head -1)")
pycairo=$(dirname "$(find / -xdev -name pycairo.h -path '*include*' | head -1)")
flags="-O1 -w -fPIC -shared -I. -I/src/config -I/usr/include/python2.7 -I$pygobject -I$pycairo $(pkg-config --cflags $packages)"
libraries=$(pkg-config --libs $packages)
gcc $flags -DHAVE_CONFIG_H gimpmodule.c pygimp-{item,display,drawable,image,parasite,pdb,tile,vectors}.c \
    -o $out/gimp.so $libraries
gcc $flags gimpenumsmodule.c -o $out/_gimpenums.so $libraries
gcc $flags gimpcolormodule.c pygimp-colors.c -o $out/gimpcolor.so $libraries
cp gimpenums.py gimpfu.py gimpplugin.py gimpshelf.py gimpui.py $out/

mkdir -p $library/plug-ins/python-eval
sed '1s#.*#\#!/usr/bin/env python2.7#' plug-ins/python-eval.py > $library/plug-ins/python-eval/python-eval.py
chmod 755 $library/plug-ins/python-eval/python-eval.py
echo "PYTHONPATH=$out" > $library/environ/pygimp.env
printf 'python=/usr/bin/python2.7\npython2=/usr/bin/python2.7\n:Python:E::py::python2:\n' > $library/interpreters/pygimp.interp
rm -rf /src
