#!/usr/bin/env bash
# Validates deploy/kubernetes.yaml against the schemas of Kubernetes.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/deploy-venv
[ -x "$venv/bin/kubernetes-validate" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q kubernetes-validate==1.33.0; }
"$venv/bin/kubernetes-validate" --strict deploy/kubernetes.yaml
# A check that cannot fail checks nothing.
if sed 's/containerPort: 4010/containerPort: many/' deploy/kubernetes.yaml | "$venv/bin/kubernetes-validate" --strict - >/dev/null 2>&1; then
  echo "FAIL a broken manifest passes"; exit 1
fi
echo "2 passed, 0 failed"
