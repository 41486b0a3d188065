"""A stand-in for a Kubernetes cluster: an API server with pods in which a real kubectl executes real processes.

from tests.testbed.kubernetes.cluster import Cluster, Pod

with Cluster() as cluster:
    cluster.add(Pod("gitlab-toolbox-1", labels={"app": "toolbox", "release": "gitlab"}))
    subprocess.run(["kubectl", "get", "pods", "-n", "gitlab"], env=os.environ | cluster.environment())

cluster     for tests: start the stand-in, change what it consists of, ask what was executed there
__main__    the stand-in's own process, told over its standard input what the test wants
api         HTTP and the part of the Kubernetes API that kubectl's get, exec and auth need
facts       what the cluster consists of: pods, permissions, cuts to come, what was executed
session     one `exec`: a process between its client's channels
websocket   the channels as a WebSocket                                       ┐ two framings
spdy        the channels as SPDY/3.1 streams                                  ┘
process     a process of this machine and its pipes or terminal
"""
