// Whom alerts reach: people by mail and, through Slipway's notifier, in their chat; Slipway by its own
// door. Both doors want a token: there is no key in an address that somebody could copy.

@description('Name of the action group.')
param groupName string

@description('Name that mails and messages show, 12 characters at most.')
@maxLength(12)
param shortName string

@description('Tags of the resource.')
param tags object

@description('Addresses that get a mail.')
param emails array

@description('Address of Slipway\'s notifier: https://FUNCTION-APP.azurewebsites.net/api/notifications/slack. Empty: no chat. The chat\'s own address is a secret, and in the vault.')
param notificationsUrl string

@description('Address of Slipway\'s door: https://FUNCTION-APP.azurewebsites.net/api/alerts. Empty: Slipway does not hear of these.')
param alertsUrl string

@description('Application (client) id that the tokens for Slipway are for: SLIPWAY_ALERTS_AUDIENCE.')
param alertsApplicationId string

@description('Object id of that application.')
param alertsObjectId string

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: groupName
  location: 'global'
  tags: tags
  properties: {
    groupShortName: shortName
    enabled: true
    emailReceivers: [
      for (address, index) in emails: {
        name: 'mail-${index}'
        emailAddress: address
        useCommonAlertSchema: true
      }
    ]
    webhookReceivers: concat(empty(notificationsUrl) || empty(alertsApplicationId) ? [] : [
      {
        name: 'chat'
        serviceUri: notificationsUrl
        useCommonAlertSchema: true
        useAadAuth: true
        identifierUri: 'api://${alertsApplicationId}'
        objectId: alertsObjectId
        tenantId: tenant().tenantId
      }
    ], empty(alertsUrl) || empty(alertsApplicationId) ? [] : [
      {
        name: 'slipway'
        serviceUri: alertsUrl
        useCommonAlertSchema: true
        useAadAuth: true
        identifierUri: 'api://${alertsApplicationId}'
        objectId: alertsObjectId
        tenantId: tenant().tenantId
      }
    ])
  }
}

@description('Resource id of the action group.')
output groupId string = group.id
