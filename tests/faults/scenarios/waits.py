"""The waits of a partition under faults: constants of the suite, its servers and the worker, with their names."""

from tests.faults.scenario import Wait
from tests.faults.servers import CONSUMER_SESSION_SECONDS
from tests.faults.trial import SESSION_SECONDS
from worker.kafka.producer import CALL_SECONDS
from worker.stream.publisher import TRANSACTION_SECONDS

# The broker waits this long for a silent worker, and to end the transaction of a dead one, which times out 10 s earlier and is
# looked for every 10 s.
SESSION = Wait(SESSION_SECONDS, "session timeout of a worker")
CONSUMER_SESSION = Wait(CONSUMER_SESSION_SECONDS, "session timeout of a KIP-848 member")
TAKE_OVER = Wait(4.0, "rebalance, and the first commit of the new owner")
WORKER_START = Wait(10.0, "start of a worker that had ended")
# A lone broker keeps Kafka's own session timeout, and leads nothing before its old session is over.
BROKER_SESSION = Wait(9.0, "session timeout of the lone broker (broker.session.timeout.ms)")
# 33,000 offsets took 5 to 8 s on a busy machine.
BROKER_LOAD = Wait(8.0, "load of the broker's logs and of the group coordinator")
ONE_CALL = Wait(TRANSACTION_SECONDS, "longest call within a transaction")
PRODUCER_START = Wait(CALL_SECONDS, "longest wait for a transactional id (init_transactions)")
