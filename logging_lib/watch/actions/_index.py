"""The store itself, for actions that write documents."""

from __future__ import annotations

from dataclasses import dataclass

from logging_lib.store.port import Store, StoreError
from logging_lib.watch.actions._outlet import DeliveryError
from logging_lib.watch.messages import Index, Message


@dataclass(frozen=True)
class IndexOutlet:
    """Stores documents; what is stored again after a crash takes its own place."""

    store: Store

    def deliver(self, message: Message) -> None:
        if not isinstance(message, Index):
            raise TypeError(message.kind)
        faults: dict[str, str] = {}
        for target in dict.fromkeys(document.index for document in message.documents):
            documents = [
                {**document.source, "_id": document.id}
                for document in message.documents
                if document.index == target
            ]
            try:
                result = self.store.index(target, documents, create=message.create)
            except StoreError as error:
                raise DeliveryError(f"the store did not take the documents: {error}", down=True) from None
            faults.update(result.failed)
        if message.refresh:
            self.store.refresh()
        if faults:
            left = tuple(each for each in message.documents if each.id in faults)
            first = next(iter(faults.values()))
            raise DeliveryError(
                f"the store refused {len(faults)} of {len(message.documents)} documents: {first}",
                remaining=message.model_copy(update={"documents": left or message.documents}),
            )
